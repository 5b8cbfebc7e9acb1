// The relay's configuration: variables, a line "%%", YAML.
#include "relay/config/config.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {

void relay_settings_target(std::string_view input) {
  demand_settings_round_trip(input, relay::kEnvironmentPrefix, [](const auto& use) {
    relay::RelayConfig config;
    use([&](Settings& settings) { relay::describe(settings, config); });
  });
}

}  // namespace headgate::fuzz
