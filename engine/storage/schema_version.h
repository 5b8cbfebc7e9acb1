// Names of schema versions: 12 bytes (4 of seconds since 1970, 8 of process identity and counter) as 20 characters of
// lower-case base32hex, so that text order is time order. Compatible with the ids that Permify gives.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace headgate::engine {

// Seconds since 1970; nullopt for text that is no such name.
std::optional<int64_t> seconds_of_schema_version(std::string_view version);

// Thread-safe.
class SchemaVersions {
 public:
  explicit SchemaVersions(Clock& clock);
  // A new name that sorts behind `head` (empty: there is none), also when the head was named by a clock that is ahead.
  StatusOr<std::string> next(std::string_view head);

 private:
  Clock& clock_;
  std::array<unsigned char, 5> process_;  // random, differs between pods
  std::atomic<uint32_t> counter_;
};

}  // namespace headgate::engine
