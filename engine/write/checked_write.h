// A write of tuples and attributes: checked against the tenant's schema, submitted, and checked again only when another
// schema turns out to be the newest.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "engine/storage/datastore.h"
#include "engine/write/schema_cache.h"

namespace headgate::engine {

struct WriteSettings {
  size_t data_per_write_max = 1000;  // tuples and attributes of one write together, without repetitions
  // Of one attribute as JSON. With all that an event has beside it, it stays below a million bytes, which is what the
  // sinks take by default.
  size_t attribute_json_bytes_max = 950'000;
};

// What all writes of a process use.
struct WriteParts {
  Datastore& store;
  SchemaCache& schemas;
  const WriteSettings settings;
  const std::function<void(uint64_t)> written;

  // Tells `written` of a commit.
  StatusOr<SnapToken> announce(StatusOr<SnapToken> token) const;
};

class CheckedWrite : public std::enable_shared_from_this<CheckedWrite> {
 public:
  struct Data {
    std::vector<base::v1::Tuple> tuples;
    std::vector<base::v1::Attribute> attributes;
  };

  // All but `version` outlive this, as does what `data_of` looks at. Without a version the newest one counts.
  CheckedWrite(const WriteParts& parts, const std::string& tenant, std::string version, std::function<Data()> data_of)
      : parts_(parts), tenant_(tenant), version_(std::move(version)), data_of_(std::move(data_of)) {}

  // Does not block. False when nothing was begun, because something has to be asked for first, or the data is at fault,
  // or too many writes wait; get() then does it all, and blocks. True: `ready` is called once, on any thread, and must
  // not block; get() may be called from then on and `blocks`, or not. For `wanted` see DataWrite.
  bool begin(std::function<Status()> wanted, std::function<void(bool blocks)> ready);
  // The outcome; to be called once.
  StatusOr<SnapToken> get();

 private:
  Status check(const std::string& version, const Data& data) const;
  Status check_all(const std::string& version, const Data& data) const;
  // Against the newest version that this process has seen, if nothing must be asked for.
  std::optional<Status> check_at_guess(const Data& data);
  // What begin() has submitted, or would have if there had been room.
  WriteOutcome write_at_guess();

  const WriteParts& parts_;
  const std::string& tenant_;
  const std::string version_;
  const std::function<Data()> data_of_;
  std::string guess_;
  std::optional<Status> verdict_;  // of the check against guess_
  std::shared_ptr<PendingWrite> pending_;
};

}  // namespace headgate::engine
