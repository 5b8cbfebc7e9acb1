// What the engine asks of its database, split by caller. Implemented over Permify's own tables in PostgreSQL.
//
// All calls block, are thread-safe, and obey the deadline of the pool. Errors carry the ERROR_CODE_ names of base.v1
// (engine/model/errors.h); a database that is away is UNAVAILABLE towards our own loops and ERROR_CODE_* towards
// clients. Values are base.v1 messages: they are the model, there is no second set of structs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/base.pb.h"
#include "engine/model/schema_row.h"

namespace headgate::engine {

// A page of rows; `next` is empty on the last page. Tokens are opaque, made and read by the store.
template <typename T>
struct Page {
  std::vector<T> items;
  std::string next;
};
struct PageRequest {
  uint32_t size = 0;  // REQUIRES: > 0; callers put their default in
  std::string continuous_token;
};

class TenantStore {
 public:
  virtual ~TenantStore() = default;
  // ERROR_CODE_UNIQUE_CONSTRAINT when it exists.
  virtual StatusOr<base::v1::Tenant> create(const std::string& id, const std::string& name) = 0;
  // Removes the tenant and everything it owns, in one transaction. ERROR_CODE_NOT_FOUND when unknown.
  virtual Status remove(const std::string& id) = 0;
  // Ordered by id.
  virtual StatusOr<Page<base::v1::Tenant>> list(const PageRequest& page) = 0;
};

struct SchemaVersion {
  std::string version;
  int64_t created_at_s = 0;
};

class SchemaStore {
 public:
  virtual ~SchemaStore() = default;
  // Stores all rows under a new version that sorts behind the tenant's head, and returns it.
  // With `expected_head`, ABORTED when the head is no longer that version (read-modify-write of PartialWrite).
  virtual StatusOr<std::string> write(const std::string& tenant, const std::vector<SchemaRow>& rows,
                                      const std::optional<std::string>& expected_head) = 0;
  // ERROR_CODE_SCHEMA_NOT_FOUND when the tenant has none.
  virtual StatusOr<std::string> head_version(const std::string& tenant) = 0;
  // All rows of a version, by name; empty for an unknown version.
  virtual StatusOr<std::vector<SchemaRow>> read(const std::string& tenant, const std::string& version) = 0;
  // Newest first.
  virtual StatusOr<Page<SchemaVersion>> list(const std::string& tenant, const PageRequest& page) = 0;
};

class BundleStore {
 public:
  virtual ~BundleStore() = default;
  virtual StatusOr<std::vector<std::string>> write(const std::string& tenant,
                                                   const std::vector<base::v1::DataBundle>& bundles) = 0;
  // ERROR_CODE_BUNDLE_NOT_FOUND when unknown.
  virtual StatusOr<base::v1::DataBundle> read(const std::string& tenant, const std::string& name) = 0;
  virtual Status remove(const std::string& tenant, const std::string& name) = 0;
};

class DataReader {
 public:
  virtual ~DataReader() = default;
  // The newest state of the tenant as a token that covers every acknowledged write (position form, or xid 0 in the
  // legacy form for a tenant without history).
  virtual StatusOr<SnapToken> head(const std::string& tenant) = 0;
  // Rows visible at `at`, by id. ERROR_CODE_INVALID_CONTINUOUS_TOKEN for a bad page token. OUT_OF_RANGE for a token
  // whose history is gone.
  virtual StatusOr<Page<base::v1::Tuple>> tuples(const std::string& tenant, const SnapToken& at,
                                                 const base::v1::TupleFilter& filter, const PageRequest& page) = 0;
  virtual StatusOr<Page<base::v1::Attribute>> attributes(const std::string& tenant, const SnapToken& at,
                                                         const base::v1::AttributeFilter& filter,
                                                         const PageRequest& page) = 0;
};

// One step of a bundle, templates already rendered and parsed.
struct BundleStep {
  std::vector<base::v1::Tuple> tuples_write;
  std::vector<base::v1::Tuple> tuples_delete;
  std::vector<base::v1::Attribute> attributes_write;
  std::vector<base::v1::Attribute> attributes_delete;
};

struct DataWrite {
  std::string tenant;
  std::vector<base::v1::Tuple> tuples;
  std::vector<base::v1::Attribute> attributes;
  // The schema version that it was checked against, if that has to be the tenant's newest.
  std::optional<std::string> head;
  // Asked before each attempt; anything but OK ends the write. Must not block. May be empty.
  std::function<Status()> wanted;
};

struct WriteOutcome {
  StatusOr<SnapToken> token;
  bool head_moved = false;  // the newest schema is another one than DataWrite::head: nothing was written
};

// A write under way.
class PendingWrite {
 public:
  virtual ~PendingWrite() = default;
  // False as soon as get() has the outcome at hand.
  virtual bool blocks() const = 0;
  // To be called once. Waits for the first attempt, and does what is left behind it: further attempts, or finding out
  // what became of a COMMIT without an answer.
  virtual WriteOutcome get() = 0;
};

struct WriterLoad {
  size_t waiting = 0;
  size_t running = 0;
};

inline constexpr char kTooManyWrites[] = "too many writes are waiting; try again later";

class DataWriter {
 public:
  using Attempted = std::function<void(const std::shared_ptr<PendingWrite>&)>;

  virtual ~DataWriter() = default;
  // One SERIALIZABLE transaction each; retried on serialization failures. The token is durable when returned.
  // ERROR_CODE_ERROR_MAX_RETRIES when all attempts failed, ERROR_CODE_DATASTORE for anything else.
  // begin() does not block. Null when too many writes wait. `attempted`, unless it is empty, is called once behind the
  // first attempt, on any thread; it must not block, and decides by blocks() where get() is to be called.
  virtual std::shared_ptr<PendingWrite> begin(DataWrite write, Attempted attempted) = 0;
  // The same, waited for. RESOURCE_EXHAUSTED when too many writes wait.
  WriteOutcome write(DataWrite data) {
    const auto pending = begin(std::move(data), {});
    if (pending != nullptr) return pending->get();
    return {make_status(StatusCode::kResourceExhausted, kTooManyWrites)};
  }
  StatusOr<SnapToken> write(const std::string& tenant, std::vector<base::v1::Tuple> tuples,
                            std::vector<base::v1::Attribute> attributes) {
    return write(DataWrite{tenant, std::move(tuples), std::move(attributes), std::nullopt, {}}).token;
  }
  // An empty filter deletes nothing of its kind. An empty subject.relation is not filtered on.
  virtual StatusOr<SnapToken> remove(const std::string& tenant, const base::v1::TupleFilter& tuples,
                                     const base::v1::AttributeFilter& attributes) = 0;
  virtual StatusOr<SnapToken> run(const std::string& tenant, const std::vector<BundleStep>& steps) = 0;
  virtual WriterLoad load() const = 0;
};

// The whole database as the engine sees it.
struct Datastore {
  std::unique_ptr<TenantStore> tenants;
  std::unique_ptr<SchemaStore> schemas;
  std::unique_ptr<BundleStore> bundles;
  std::unique_ptr<DataReader> reader;
  std::unique_ptr<DataWriter> writer;
};

}  // namespace headgate::engine
