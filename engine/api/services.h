// The unary services of base.v1. Each is a thin gRPC edge over the datastore, the schema compiler and the writer; all
// are thread-safe and borrow what they are given, which must outlive the server.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "engine/api/call.h"
#include "engine/storage/datastore.h"
#include "engine/storage/snapshot_reader.h"
#include "engine/watch/watch_service.h"

namespace headgate::engine {

class WriteService;

// Pages of reads and lists.
struct PageLimits {
  uint32_t size_default = 50;
  uint32_t size_max = 5000;  // more is served in several pages

  // The request as the store takes it.
  PageRequest page(uint32_t size, const std::string& continuous_token) const {
    return {std::min(size == 0 ? size_default : size, size_max), continuous_token};
  }
};

std::unique_ptr<grpc::Service> make_tenancy_service(CallRunner& calls, TenantStore& tenants, PageLimits limits);
std::unique_ptr<grpc::Service> make_schema_service(CallRunner& calls, SchemaStore& schemas, PageLimits limits);
std::unique_ptr<grpc::Service> make_data_service(CallRunner& calls, WriteService& writes, DataReader& reader,
                                                 PageLimits limits);
std::unique_ptr<grpc::Service> make_bundle_service(CallRunner& calls, WriteService& writes, BundleStore& bundles);
// Feed.ReadSnapshot, for WatchSettings. `complete`: a position below which every transaction has ended; 0: none is
// known.
ReadSnapshot make_read_snapshot(CallRunner& calls, SnapshotReader& reader, std::function<uint64_t()> complete);
// Answers ERROR_CODE_NOT_IMPLEMENTED to valid requests.
std::unique_ptr<grpc::Service> make_permission_service(CallRunner& calls);

}  // namespace headgate::engine
