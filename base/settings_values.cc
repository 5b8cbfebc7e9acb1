#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

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

constexpr uint64_t kAmountMax = 9'000'000'000'000'000'000;

// value += add * times; false when that is too much.
bool add_product(uint64_t& value, uint64_t add, uint64_t times) {
  return !__builtin_mul_overflow(add, times, &add) && !__builtin_add_overflow(value, add, &value) &&
         value <= kAmountMax;
}

size_t count_digits(std::string_view text) { return std::min(text.find_first_not_of("0123456789"), text.size()); }

// Reads "<number><unit>" from the front of `text`; the number may have a fraction. False when there is none, or when
// the sum is too large.
template <size_t N>
bool take_amount(std::string_view& text, const std::array<Unit, N>& units, uint64_t& amount) {
  const std::string_view whole = text.substr(0, count_digits(text));
  text.remove_prefix(whole.size());
  double fraction = 0;
  size_t decimals = 0;
  if (!text.empty() && text.front() == '.') {
    decimals = count_digits(text.substr(1));
    if (decimals > 0) std::from_chars(text.data(), text.data() + 1 + decimals, fraction);
    text.remove_prefix(1 + decimals);
  }
  uint64_t number = 0;
  const auto parsed = std::from_chars(whole.data(), whole.data() + whole.size(), number);
  if (whole.size() + decimals == 0 || (!whole.empty() && parsed.ec != std::errc())) return false;
  size_t length = 0;
  while (length < text.size() && std::isalpha(static_cast<unsigned char>(text[length]))) ++length;
  const std::string_view name = text.substr(0, length);
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    text.remove_prefix(length);
    const auto part = static_cast<uint64_t>(std::llround(fraction * static_cast<double>(unit.size)));
    return add_product(amount, number, unit.size) && add_product(amount, part, 1);
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

constexpr std::string_view kMask = "***";

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// "scheme://user:password@host": all up to the last '@' in front of a '/' or blank.
std::string mask_userinfo(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t colon = text.find("://", at);
    const bool has_scheme =
        colon != std::string_view::npos && colon > 0 && std::isalnum(static_cast<unsigned char>(text[colon - 1]));
    const size_t begin = colon == std::string_view::npos ? text.size() : colon + 3;
    out += text.substr(at, begin - at);
    at = begin;
    if (!has_scheme) continue;
    size_t end = begin;
    while (end < text.size() && text[end] != '/' && !is_space(text[end])) ++end;
    const size_t sign = text.substr(begin, end - begin).rfind('@');
    if (sign == std::string_view::npos) continue;
    out += kMask;
    at = begin + sign;
  }
  return out;
}

// Behind the value that begins at `at`: quoted with backslashes inside, as in connection strings, or up to a blank or
// '&'. What follows a quote without a blank counts as well.
size_t end_of_value(std::string_view text, size_t at) {
  if (at < text.size() && text[at] == '\'') {
    for (++at; at < text.size() && text[at] != '\''; ++at) at += text[at] == '\\' ? 1 : 0;
    ++at;
  }
  while (at < text.size() && text[at] != '&' && !is_space(text[at])) ++at;
  return std::min(at, text.size());
}

// The length of a word for secrets at the beginning of `text` with blanks and "=" behind it; 0 when there is none.
size_t assignment_length(std::string_view text) {
  for (const std::string_view word : {"password", "passwd", "secret", "token"}) {
    const bool matches = text.size() > word.size() &&
                         std::equal(word.begin(), word.end(), text.begin(),
                                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
    const size_t equals = matches ? text.find_first_not_of(" \t", word.size()) : std::string_view::npos;
    if (equals != std::string_view::npos && text[equals] == '=') return equals + 1;
  }
  return 0;
}

std::string mask_assignments(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = assignment_length(text.substr(at));
    if (length == 0) {
      out += text[at++];
      continue;
    }
    out += text.substr(at, length);
    out += kMask;
    at = end_of_value(text, std::min(text.find_first_not_of(" \t", at + length), text.size()));
  }
  return out;
}

}  // namespace

StatusOr<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  std::string_view rest = text;
  uint64_t nanos = 0;
  if (rest == "0") return std::chrono::nanoseconds(0);
  bool valid = !rest.empty();
  // An amount that is too large has been read as well, so it is not what is left that tells.
  while (valid && !rest.empty()) valid = take_amount(rest, kTimeUnits, nanos);
  if (!valid) return invalid_argument("'{}' is not a duration such as 250ms, 5s or 1h30m", text);
  return std::chrono::nanoseconds(static_cast<int64_t>(nanos));
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
  uint64_t amount = 0;
  if (!take_amount(rest, kByteUnits, amount) || !rest.empty()) {
    return invalid_argument("'{}' is not a size such as 512, 64KiB or 16MiB", text);
  }
  return amount;
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

std::string mask_secrets(std::string text) { return mask_userinfo(mask_assignments(text)); }

}  // namespace headgate
