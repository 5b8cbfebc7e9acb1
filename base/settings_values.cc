#include <array>
#include <charconv>
#include <cmath>
#include <regex>

#include "base/settings.h"

namespace headgate {
namespace {

struct Unit {
  std::string_view name;
  uint64_t size;
};

// Longest first, so that "1h" prints as "1h" and not "60m".
constexpr std::array<Unit, 7> kTimeUnits = {{{"h", 3'600'000'000'000},
                                             {"m", 60'000'000'000},
                                             {"s", 1'000'000'000},
                                             {"ms", 1'000'000},
                                             {"us", 1'000},
                                             {"ns", 1},
                                             {"d", 86'400'000'000'000}}};
constexpr std::array<Unit, 9> kByteUnits = {{{"GiB", 1ull << 30},
                                             {"MiB", 1ull << 20},
                                             {"KiB", 1ull << 10},
                                             {"GB", 1'000'000'000},
                                             {"MB", 1'000'000},
                                             {"kB", 1'000},
                                             {"KB", 1'000},
                                             {"B", 1},
                                             {"", 1}}};

// Reads "<number><unit>" from the front of `text`; the number may have a fraction. False when there is none.
template <size_t N>
bool take_amount(std::string_view& text, const std::array<Unit, N>& units, double& amount) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || number < 0) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  size_t length = 0;
  while (length < text.size() && std::isalpha(static_cast<unsigned char>(text[length]))) ++length;
  const std::string_view name = text.substr(0, length);
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    amount += number * static_cast<double>(unit.size);
    text.remove_prefix(length);
    return true;
  }
  return false;
}

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

StatusOr<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  std::string_view rest = text;
  double nanos = 0;
  if (rest == "0") return std::chrono::nanoseconds(0);
  bool any = false;
  while (!rest.empty()) {
    if (!take_amount(rest, kTimeUnits, nanos)) break;
    any = true;
  }
  if (!any || !rest.empty() || nanos > 9e18)
    return invalid_argument("'{}' is not a duration such as 250ms, 5s or 1h30m", text);
  return std::chrono::nanoseconds(std::llround(nanos));
}

std::string format_duration(std::chrono::nanoseconds value) {
  auto rest = static_cast<uint64_t>(value.count());
  std::string text;
  for (const Unit& unit : kTimeUnits) {
    if (rest >= unit.size && unit.name != "d") {
      text += fmt::format("{}{}", rest / unit.size, unit.name);
      rest %= unit.size;
    }
  }
  return text.empty() ? "0s" : text;
}

StatusOr<uint64_t> parse_bytes(std::string_view text) {
  std::string_view rest = text;
  double amount = 0;
  if (!take_amount(rest, kByteUnits, amount) || !rest.empty() || amount > 9e18) {
    return invalid_argument("'{}' is not a size such as 512, 64KiB or 16MiB", text);
  }
  return static_cast<uint64_t>(std::llround(amount));
}

std::string format_bytes(uint64_t value) {
  for (const Unit& unit : kByteUnits) {
    if (unit.name.size() == 3 && value >= unit.size && value % unit.size == 0) {
      return fmt::format("{}{}", value / unit.size, unit.name);
    }
  }
  return fmt::format("{}", value);
}

StatusOr<bool> parse_bool(std::string_view text) {
  if (text == "true" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "no" || text == "off") return false;
  return invalid_argument("'{}' is neither true nor false", text);
}

StatusOr<int64_t> parse_integer(std::string_view text, int64_t min, int64_t max) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) {
    return invalid_argument("'{}' is not a whole number", text);
  }
  if (error != std::errc() || value < min || value > max) {
    return invalid_argument("'{}' is not between {} and {}", text, min, max);
  }
  return value;
}

StatusOr<double> parse_real(std::string_view text, double min, double max) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return invalid_argument("'{}' is not a number", text);
  }
  if (value < min || value > max) return invalid_argument("'{}' is not between {} and {}", text, min, max);
  return value;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t d = distance(word, candidate);
    if (d < best_distance) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

std::string mask_secrets(std::string text) {
  static const std::regex kUserinfo(R"(([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s]*@)");
  static const std::regex kPassword(R"((password|passwd|secret|token)=('[^']*'|[^&\s]*))", std::regex::icase);
  text = std::regex_replace(text, kUserinfo, "$1***@");
  return std::regex_replace(text, kPassword, "$1=***");
}

}  // namespace headgate
