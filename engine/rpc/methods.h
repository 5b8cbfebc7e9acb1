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
TenancyMethods make_tenancy_methods(Metrics& metrics, TenantStore& tenants, PageLimits limits);

struct SchemaMethods {
  Method<base::v1::SchemaWriteRequest, base::v1::SchemaWriteResponse> write;
  Method<base::v1::SchemaPartialWriteRequest, base::v1::SchemaPartialWriteResponse> partial_write;
  Method<base::v1::SchemaReadRequest, base::v1::SchemaReadResponse> read;
  Method<base::v1::SchemaListRequest, base::v1::SchemaListResponse> list;
};
SchemaMethods make_schema_methods(Metrics& metrics, SchemaStore& schemas, PageLimits limits);

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

// Feed.ReadSnapshot. `complete`: a position below which every transaction has ended; 0: none is known.
using SnapshotMethod = Method<v1::ReadSnapshotRequest, v1::SnapshotPage>;
SnapshotMethod make_snapshot_method(Metrics& metrics, SnapshotReader& reader, std::function<uint64_t()> complete);

}  // namespace headgate::engine
