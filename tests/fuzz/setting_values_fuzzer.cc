// Single values of settings: durations, sizes, numbers, and the masking of secrets inside of texts.
#include <algorithm>

#include "base/settings.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

void try_amounts(std::string_view text) {
  if (const auto duration = parse_duration(text); duration.ok()) {
    demand(duration->count() >= 0, "a negative duration: {}", text);
    const auto again = parse_duration(format_duration(*duration));
    demand(again.ok() && *again == *duration, "{} ns print as {}", duration->count(), format_duration(*duration));
  }
  if (const auto bytes = parse_bytes(text); bytes.ok()) {
    const auto again = parse_bytes(format_bytes(*bytes));
    demand(again.ok() && *again == *bytes, "{} bytes print as {}", *bytes, format_bytes(*bytes));
  }
}

void try_numbers(std::string_view text) {
  if (const auto integer = parse_integer(text, -5, 1'000'000); integer.ok()) {
    demand(*integer >= -5 && *integer <= 1'000'000, "{} is outside of its bounds", *integer);
    const auto again = parse_integer(std::to_string(*integer), -5, 1'000'000);
    demand(again.ok() && *again == *integer, "{} does not come back", *integer);
  }
  if (const auto real = parse_real(text, 0, 1e300); real.ok()) {
    demand(*real >= 0 && *real <= 1e300, "{} is outside of its bounds", *real);
    const auto again = parse_real(fmt::format("{}", *real), 0, 1e300);
    demand(again.ok() && *again == *real, "{} does not come back", *real);
  }
}

void try_mask(const std::string& text) {
  const std::string masked = mask_secrets(text);
  demand(mask_secrets(masked) == masked, "masked twice, and different: {}\n{}", masked, mask_secrets(masked));
  // What stands alone in a URI or behind "password=" never stays, whatever is around it.
  const std::string marker = "Hk7Secret";
  for (const std::string& holder : {"postgres://user:" + marker + "@host/db", "password=" + marker}) {
    const std::string around = mask_secrets(text + " " + holder + " " + text);
    demand(around.find(marker) == std::string::npos || text.find(marker) != std::string::npos, "a secret stays: {}",
           around);
  }
}

}  // namespace

void setting_values_target(std::string_view input) {
  const std::string_view line = Input(input).line();
  try_amounts(line);
  try_numbers(line);
  (void)parse_bool(line);
  const std::vector<std::string> known = {"address", "port", "max_connections"};
  const std::string meant = did_you_mean(line, known);
  demand(meant.empty() || std::find(known.begin(), known.end(), meant) != known.end(), "'{}' is not known", meant);
  try_mask(std::string(input));
}

}  // namespace headgate::fuzz
