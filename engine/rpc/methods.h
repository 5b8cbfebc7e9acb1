// The unary methods of base.v1 and headgate.v1, over the datastore, the schema compiler and the writer. All are
// thread-safe and borrow what they are given.
#pragma once

#include <algorithm>
#include <functional>
#include <string>

#include "base/v1/service.pb.h"
#include "engine/rpc/method.h"
#include "engine/storage/datastore.h"
#include "engine/storage/snapshot_reader.h"
#include "headgate/v1/feed.pb.h"

namespace headgate::engine {

class CheckService;
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

struct TenancyMethods {
  Method<base::v1::TenantCreateRequest, base::v1::TenantCreateResponse> create;
  Method<base::v1::TenantDeleteRequest, base::v1::TenantDeleteResponse> remove;
  Method<base::v1::TenantListRequest, base::v1::TenantListResponse> list;
};
// `written` is called when a tenant has been removed, before its caller is told.
TenancyMethods make_tenancy_methods(Metrics& metrics, TenantStore& tenants, PageLimits limits,
                                    std::function<void()> written = {});

struct SchemaMethods {
  Method<base::v1::SchemaWriteRequest, base::v1::SchemaWriteResponse> write;
  Method<base::v1::SchemaPartialWriteRequest, base::v1::SchemaPartialWriteResponse> partial_write;
  Method<base::v1::SchemaReadRequest, base::v1::SchemaReadResponse> read;
  Method<base::v1::SchemaListRequest, base::v1::SchemaListResponse> list;
};
// `written` is called when a schema has been written, before its writer is told.
SchemaMethods make_schema_methods(Metrics& metrics, SchemaStore& schemas, PageLimits limits,
                                  std::function<void()> written = {});

struct DataMethods {
  Method<base::v1::DataWriteRequest, base::v1::DataWriteResponse> write;
  Method<base::v1::RelationshipWriteRequest, base::v1::RelationshipWriteResponse> write_relationships;
  Method<base::v1::RelationshipReadRequest, base::v1::RelationshipReadResponse> read_relationships;
  Method<base::v1::AttributeReadRequest, base::v1::AttributeReadResponse> read_attributes;
  Method<base::v1::DataDeleteRequest, base::v1::DataDeleteResponse> remove;
  Method<base::v1::RelationshipDeleteRequest, base::v1::RelationshipDeleteResponse> remove_relationships;
  Method<base::v1::BundleRunRequest, base::v1::BundleRunResponse> run_bundle;
};
DataMethods make_data_methods(Metrics& metrics, WriteService& writes, DataReader& reader, PageLimits limits);

struct BundleMethods {
  Method<base::v1::BundleWriteRequest, base::v1::BundleWriteResponse> write;
  Method<base::v1::BundleReadRequest, base::v1::BundleReadResponse> read;
  Method<base::v1::BundleDeleteRequest, base::v1::BundleDeleteResponse> remove;
};
BundleMethods make_bundle_methods(Metrics& metrics, WriteService& writes, BundleStore& bundles);

// A method that answers with a stream. `handle` runs on a worker and may block; `emit` takes one message, blocks until
// the client has taken it, and what it returns ends the work unless it is OK.
template <typename Request, typename Response>
struct StreamMethod {
  std::shared_ptr<MethodMetrics> metrics;
  std::function<base::v1::ErrorCode(const Request&)> away;
  std::function<Status(const Request&, Call&, const std::function<Status(Response)>& emit)> handle;
};

// The metadata headgate-consistency of a call says how new its answer has to be (bounded, at-least, strict, exact; see
// engine/check). Trailers tell what it was answered from: headgate-snap-token, headgate-age-ms, headgate-source,
// headgate-schema-version.
struct PermissionMethods {
  Method<base::v1::PermissionCheckRequest, base::v1::PermissionCheckResponse> check;
  Method<base::v1::PermissionBulkCheckRequest, base::v1::PermissionBulkCheckResponse> bulk_check;
  Method<base::v1::PermissionExpandRequest, base::v1::PermissionExpandResponse> expand;
  Method<base::v1::PermissionLookupEntityRequest, base::v1::PermissionLookupEntityResponse> lookup_entity;
  StreamMethod<base::v1::PermissionLookupEntityRequest, base::v1::PermissionLookupEntityStreamResponse>
      lookup_entity_stream;
  Method<base::v1::PermissionLookupSubjectRequest, base::v1::PermissionLookupSubjectResponse> lookup_subject;
  Method<base::v1::PermissionSubjectPermissionRequest, base::v1::PermissionSubjectPermissionResponse>
      subject_permission;
};
PermissionMethods make_permission_methods(Metrics& metrics, CheckService& checks);

// Feed.ReadSnapshot. `complete`: a position below which every transaction has ended; 0: none is known.
using SnapshotMethod = Method<v1::ReadSnapshotRequest, v1::SnapshotPage>;
SnapshotMethod make_snapshot_method(Metrics& metrics, SnapshotReader& reader, std::function<uint64_t()> complete);

}  // namespace headgate::engine
