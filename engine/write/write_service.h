// Everything a client can change in a tenant's data: checks a request, then hands it to the store.
//
// Requests have passed the field rules of base.v1 already (that is the edge's part). Thread-safe; blocks on the
// database. Errors carry the ERROR_CODE_ names.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/service.pb.h"
#include "engine/storage/datastore.h"
#include "engine/write/schema_cache.h"

namespace headgate::engine {

struct WriteSettings {
  size_t data_per_write_max = 1000;  // tuples and attributes of one write together, without repetitions
  // Of one attribute as JSON. With all that an event has beside it, it stays below a million bytes, which is what the
  // sinks take by default.
  size_t attribute_json_bytes_max = 950'000;
};

class WriteService {
 public:
  // The stores and the cache outlive this. `written` is told the xid of every write after it has committed, on the
  // caller's thread; the feed of the same process uses it to look at once. May be empty.
  WriteService(Datastore& store, SchemaCache& schemas, WriteSettings settings,
               std::function<void(uint64_t)> written = {});

  StatusOr<SnapToken> write(const base::v1::DataWriteRequest& request);
  StatusOr<SnapToken> write_relationships(const base::v1::RelationshipWriteRequest& request);
  // The same without blocking, for what needs nothing from the database before it is written. False when it does, or
  // when the data is at fault: the other function is to be called then. The request outlives the write; for `wanted`
  // and `done` see DataWriter::write_soon().
  bool write_soon(const base::v1::DataWriteRequest& request, std::function<Status()> wanted,
                  std::function<void(WriteEnding)> done);
  bool write_relationships_soon(const base::v1::RelationshipWriteRequest& request, std::function<Status()> wanted,
                                std::function<void(WriteEnding)> done);
  // ERROR_CODE_VALIDATION when both filters are empty: nothing would be deleted.
  StatusOr<SnapToken> remove(const base::v1::DataDeleteRequest& request);
  StatusOr<SnapToken> remove_relationships(const base::v1::RelationshipDeleteRequest& request);
  StatusOr<SnapToken> run_bundle(const base::v1::BundleRunRequest& request);

  // The names of the bundles stored.
  StatusOr<std::vector<std::string>> write_bundles(const base::v1::BundleWriteRequest& request);

 private:
  struct Data {
    std::vector<base::v1::Tuple> tuples;
    std::vector<base::v1::Attribute> attributes;
  };

  StatusOr<SnapToken> write_data(const std::string& tenant, const std::string& version, const Data& data);
  // `tenant` and what `data_of` looks at outlive the write.
  bool write_data_soon(const std::string& tenant, const std::string& version, const std::function<Data()>& data_of,
                       std::function<Status()> wanted, std::function<void(WriteEnding)> done);
  // At a version that is asked for.
  StatusOr<SnapToken> write_at_newest(const std::string& tenant, const Data& data);
  // One statement less than asking for the newest version first. Nothing when the guess was wrong, or when the data
  // does not pass under it.
  std::optional<StatusOr<SnapToken>> write_at_guess(const std::string& tenant, const Data& data);
  Status check(const std::string& tenant, const std::string& version, const Data& data);
  StatusOr<SnapToken> remove_data(const std::string& tenant, const base::v1::TupleFilter& tuples,
                                  const base::v1::AttributeFilter& attributes);
  Status validate_all(const std::string& tenant, const std::string& version, const Data& data);
  StatusOr<SnapToken> announce(StatusOr<SnapToken> token);

  Datastore& store_;
  SchemaCache& schemas_;
  const WriteSettings settings_;
  const std::function<void(uint64_t)> written_;
};

// The steps of a bundle for the given arguments. Texts that do not parse after rendering are ERROR_CODE_DATASTORE, a
// declared argument that is absent ERROR_CODE_MISSING_ARGUMENT, and more than 4 MiB of them INVALID_ARGUMENT.
StatusOr<std::vector<BundleStep>> steps_of(const base::v1::DataBundle& bundle,
                                           const google::protobuf::Map<std::string, std::string>& arguments);

}  // namespace headgate::engine
