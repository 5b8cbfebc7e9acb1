// From settings to a sink, for any kind. The one list of kinds; a new kind adds its settings to the variant and one
// line in table.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "sinks/encoding/settings.h"
#include "sinks/kafka/settings.h"
#include "sinks/log/settings.h"
#include "sinks/nats/settings.h"
#include "sinks/redis/settings.h"
#include "sinks/sink.h"

namespace headgate::sinks {

using KindSettings = std::variant<StdoutSettings, FileSettings, KafkaSettings, RedisStreamsSettings,
                                  RedisPubsubSettings, JetStreamSettings, NatsCoreSettings>;

struct SinkSettings {
  std::string name;  // unique in one relay; part of the cursor's key
  EncodingSettings encoding;
  KindSettings kind;
  HeartbeatSettings heartbeat;  // for whoever calls Sink::heartbeat()
};

struct KindEntry {
  std::string_view word;  // as in the configuration and in SinkInfo::kind
  KindSettings defaults;
};
// In the order of the variant.
const std::vector<KindEntry>& sink_kinds();
// Null for an unknown word.
const KindEntry* find_kind(std::string_view word);
std::string_view kind_of(const KindSettings& settings);

// What is wrong with the settings of one sink, all of it, without connecting. `key` is the one of the configuration
// that the text speaks of, empty for the sink as a whole.
struct SinkFault {
  std::string key;
  std::string text;
};
std::vector<SinkFault> check_sink(const SinkSettings& settings);

// Checks the settings; does not connect. INVALID_ARGUMENT says what is wrong; UNIMPLEMENTED when this program was built
// without the kind.
StatusOr<std::unique_ptr<Sink>> make_sink(const SinkSettings& settings);

}  // namespace headgate::sinks
