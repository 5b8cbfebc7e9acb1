// Everything a client can change in a tenant's data: checks a request, then hands it to the store.
//
// Requests have passed the field rules of base.v1 already (that is the edge's part). Thread-safe; blocks on the
// database. Errors carry the ERROR_CODE_ names.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/service.pb.h"
#include "engine/write/checked_write.h"

namespace headgate::engine {

class WriteService {
 public:
  // The stores and the cache outlive this. `written` is told the xid of every write after it has committed, on the
  // caller's thread; the feed of the same process uses it to look at once. May be empty.
  WriteService(Datastore& store, SchemaCache& schemas, WriteSettings settings,
               std::function<void(uint64_t)> written = {});

  // Not begun yet. The request outlives the write.
  std::shared_ptr<CheckedWrite> prepare(const base::v1::DataWriteRequest& request);
  std::shared_ptr<CheckedWrite> prepare(const base::v1::RelationshipWriteRequest& request);
  // The same, waited for.
  StatusOr<SnapToken> write(const base::v1::DataWriteRequest& request) { return prepare(request)->get(); }
  // ERROR_CODE_VALIDATION when both filters are empty: nothing would be deleted.
  StatusOr<SnapToken> remove(const base::v1::DataDeleteRequest& request);
  StatusOr<SnapToken> remove_relationships(const base::v1::RelationshipDeleteRequest& request);
  StatusOr<SnapToken> run_bundle(const base::v1::BundleRunRequest& request);

  // The names of the bundles stored.
  StatusOr<std::vector<std::string>> write_bundles(const base::v1::BundleWriteRequest& request);

 private:
  StatusOr<SnapToken> remove_data(const std::string& tenant, const base::v1::TupleFilter& tuples,
                                  const base::v1::AttributeFilter& attributes);

  const WriteParts parts_;
};

// The steps of a bundle for the given arguments. Texts that do not parse after rendering are ERROR_CODE_DATASTORE, a
// declared argument that is absent ERROR_CODE_MISSING_ARGUMENT, and more than 4 MiB of them INVALID_ARGUMENT.
StatusOr<std::vector<BundleStep>> steps_of(const base::v1::DataBundle& bundle,
                                           const google::protobuf::Map<std::string, std::string>& arguments);

}  // namespace headgate::engine
