// The engine's configuration: variables, a line "%%", YAML.
#include "engine/config/config.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {

void engine_settings_target(std::string_view input) {
  demand_settings_round_trip(input, engine::kEnvironmentPrefix, [](const auto& use) {
    engine::EngineConfig config;
    use([&](Settings& settings) { engine::describe(settings, config); });
  });
}

}  // namespace headgate::fuzz
