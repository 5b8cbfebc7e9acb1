// Which keys a tenant's events, its position and the index of streams have.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sinks/encoding/route.h"
#include "sinks/redis/settings.h"

namespace headgate::sinks {

struct StreamKeys {
  std::string stream;
  std::string position;
  std::string birth;  // of a shared stream: the hash of its members, which also tells it from one before; else empty

  bool shared() const { return !birth.empty(); }
};

// Immutable; thread-safe.
class StreamRoutes {
 public:
  // INVALID_ARGUMENT for templates that cannot work, in a cluster also for keys that would not be in one slot.
  static StatusOr<StreamRoutes> make(const RedisStreamsSettings& settings);

  // INVALID_ARGUMENT when the tenant's name makes no key.
  StatusOr<StreamKeys> keys_of(std::string_view tenant) const;
  // The number of streams that tenants share; 0: each has its own.
  size_t shards() const { return shared_ ? shards_.size() : 0; }
  size_t shard_of(std::string_view tenant) const;
  // The tenant of a stream of its own; nothing for other texts.
  std::optional<std::string> tenant_of(std::string_view stream) const {
    return shared_ ? std::nullopt : shards_[0].stream.tenant_of(stream);
  }
  // REQUIRES: shard < shards().
  std::string shared_stream(size_t shard) const;
  static std::string birth_of(const std::string& stream) { return stream + ":members"; }
  // Empty: no index is kept.
  const std::string& index() const { return index_; }
  std::string news() const { return index_ + ":new"; }

 private:
  struct Shard {
    Route stream;
    Route position;
  };

  Status check_slots() const;

  std::vector<Shard> shards_;  // one when tenants do not share
  bool shared_ = false;
  std::string index_;
};

}  // namespace headgate::sinks
