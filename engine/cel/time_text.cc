// Timestamps as RFC 3339 and durations as Go writes them: 1h30m, -2.5s.
#include <absl/time/civil_time.h>
#include <absl/time/time.h>

#include <charconv>

#include "engine/cel/functions.h"

namespace headgate::engine::cel {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

// Takes a text apart from its beginning. After a failure everything fails.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  int number(size_t digits) {
    int value = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (rest_.empty() || rest_[0] < '0' || rest_[0] > '9') return fail();
      value = value * 10 + (rest_[0] - '0');
      rest_.remove_prefix(1);
    }
    return value;
  }
  void expect(char c) {
    if (!take(c)) fail();
  }
  bool take(char c) {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view digits() {
    size_t length = 0;
    while (length < rest_.size() && rest_[length] >= '0' && rest_[length] <= '9') ++length;
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }
  std::string_view rest() const { return rest_; }
  void skip(size_t length) { rest_.remove_prefix(length); }
  bool failed() const { return failed_; }
  int fail() {
    failed_ = true;
    return 0;
  }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

// The digits behind a point, as nanoseconds; further ones are cut off.
uint32_t take_fraction(Cursor& cursor) {
  if (!cursor.take('.')) return 0;
  const std::string_view digits = cursor.digits();
  if (digits.empty()) cursor.fail();
  uint32_t nanos = 0;
  for (size_t i = 0; i < 9; ++i) nanos = nanos * 10 + (i < digits.size() ? static_cast<uint32_t>(digits[i] - '0') : 0);
  return nanos;
}

int take_offset_seconds(Cursor& cursor) {
  if (cursor.take('Z')) return 0;
  const bool west = cursor.take('-');
  if (!west) cursor.expect('+');
  const int hours = cursor.number(2);
  cursor.expect(':');
  const int minutes = cursor.number(2);
  if (hours > 23 || minutes > 59) cursor.fail();
  const int seconds = hours * 3600 + minutes * 60;
  return west ? -seconds : seconds;
}

struct Unit {
  std::string_view name;
  int64_t nanos;
};

// The micro sign is written in two ways.
constexpr Unit kUnits[] = {
    {"ns", 1},         {"us", 1000},           {"\xC2\xB5s", 1000},         {"\xCE\xBCs", 1000},
    {"ms", 1'000'000}, {"s", kNanosPerSecond}, {"m", 60 * kNanosPerSecond}, {"h", 3600 * kNanosPerSecond}};

const Unit* take_unit(Cursor& cursor) {
  for (const Unit& unit : kUnits) {
    if (!cursor.rest().starts_with(unit.name)) continue;
    // "m" begins "ms".
    if (unit.name == "m" && cursor.rest().starts_with("ms")) continue;
    cursor.skip(unit.name.size());
    return &unit;
  }
  return nullptr;
}

__int128 to_number(std::string_view digits) {
  __int128 value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return value;
}

// "1.5h". Nothing when it is none, or far too large.
std::optional<__int128> take_part(Cursor& cursor) {
  const std::string_view whole = cursor.digits();
  std::string_view fraction;
  if (cursor.take('.')) fraction = cursor.digits();
  const Unit* unit = take_unit(cursor);
  if (unit == nullptr || (whole.empty() && fraction.empty())) return std::nullopt;
  const size_t zeros = std::min(whole.find_first_not_of('0'), whole.size());
  if (whole.size() - zeros > 19) return std::nullopt;
  fraction = fraction.substr(0, 15);
  __int128 scale = 1;
  for (size_t i = 0; i < fraction.size(); ++i) scale *= 10;
  return to_number(whole.substr(zeros)) * unit->nanos + to_number(fraction) * unit->nanos / scale;
}

}  // namespace

bool is_timestamp_in_range(int64_t seconds) { return seconds >= -62'135'596'800 && seconds <= 253'402'300'799; }

std::optional<Value> parse_timestamp(std::string_view text) {
  Cursor cursor(text);
  const int year = cursor.number(4);
  cursor.expect('-');
  const int month = cursor.number(2);
  cursor.expect('-');
  const int day = cursor.number(2);
  cursor.expect('T');
  const int hour = cursor.number(2);
  cursor.expect(':');
  const int minute = cursor.number(2);
  cursor.expect(':');
  const int second = cursor.number(2);
  const uint32_t nanos = take_fraction(cursor);
  const int offset = take_offset_seconds(cursor);
  if (cursor.failed() || !cursor.rest().empty() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const absl::CivilSecond civil(year, month, day, hour, minute, second);
  // A day that its month does not have became one of the next month.
  if (civil.month() != month || civil.day() != day) return std::nullopt;
  const int64_t seconds = absl::ToUnixSeconds(absl::FromCivil(civil, absl::UTCTimeZone())) - offset;
  if (!is_timestamp_in_range(seconds)) return std::nullopt;
  return Value::timestamp(seconds, nanos);
}

std::optional<int64_t> parse_duration(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  Cursor cursor(text);
  const __int128 limit = static_cast<__int128>(std::numeric_limits<int64_t>::max()) + (negative ? 1 : 0);
  __int128 total = 0;
  while (!cursor.rest().empty()) {
    const auto part = take_part(cursor);
    if (!part || (total += *part) > limit) return std::nullopt;
  }
  return static_cast<int64_t>(negative ? -total : total);
}

std::string format_timestamp(const Value& timestamp) {
  const auto civil = absl::ToCivilSecond(absl::FromUnixSeconds(timestamp.seconds()), absl::UTCTimeZone());
  std::string fraction = timestamp.nanos() == 0 ? "" : fmt::format(".{:09}", timestamp.nanos());
  while (fraction.ends_with('0')) fraction.pop_back();
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", civil.year(), civil.month(), civil.day(), civil.hour(),
                     civil.minute(), civil.second(), fraction);
}

std::string format_duration(int64_t nanos) {
  const double seconds =
      static_cast<double>(nanos / kNanosPerSecond) + static_cast<double>(nanos % kNanosPerSecond) / 1e9;
  std::array<char, 64> text;
  char* end = std::to_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed).ptr;
  return std::string(text.data(), end) + "s";
}

}  // namespace headgate::engine::cel
