// Arithmetic of timestamps and durations, and their parts.
#include <absl/time/civil_time.h>
#include <absl/time/time.h>

#include <cstdlib>
#include <filesystem>

#include "engine/cel/functions.h"

namespace headgate::engine::cel {
namespace {

using Arguments = std::span<const Value>;

constexpr __int128 kSecond = 1'000'000'000;

__int128 nanos_of(const Value& timestamp) { return timestamp.seconds() * kSecond + timestamp.nanos(); }

Value make_duration(Heap& heap, __int128 nanos) {
  if (nanos >= std::numeric_limits<int64_t>::min() && nanos <= std::numeric_limits<int64_t>::max()) {
    return Value::duration(static_cast<int64_t>(nanos));
  }
  return heap.fail(ErrorKind::kOverflow, "duration overflow: it does not fit into 64 bits of nanoseconds");
}

Value make_timestamp(Heap& heap, __int128 nanos) {
  __int128 seconds = nanos / kSecond;
  if (nanos % kSecond < 0) --seconds;
  if (is_timestamp_in_range(static_cast<int64_t>(seconds))) {
    return Value::timestamp(static_cast<int64_t>(seconds), static_cast<uint32_t>(nanos - seconds * kSecond));
  }
  return heap.fail(ErrorKind::kOverflow, "timestamp overflow: it is not within the years 1 to 9999");
}

// Names come with requests, and loading one opens a file and is remembered for ever: only files that are there, in one
// way to write them.
bool is_zone_name(std::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '/' ||
           c == '-' || c == '+';
  });
  if (!plain || name.size() > 64 || name.starts_with('/') || name.find("//") != std::string_view::npos) {
    return false;
  }
  const char* folder = std::getenv("TZDIR");
  std::error_code error;
  return std::filesystem::is_regular_file(
      std::filesystem::path(folder == nullptr ? "/usr/share/zoneinfo" : folder) / name, error);
}

// "+02:00", "-09:30", "02:00".
std::optional<absl::TimeZone> fixed_zone(std::string_view text) {
  const bool west = text.starts_with('-');
  if (west || text.starts_with('+')) text.remove_prefix(1);
  const auto digit = [&](size_t i) { return text[i] - '0'; };
  const bool well_formed = text.size() == 5 && text[2] == ':' && std::all_of(text.begin(), text.end(), [](char c) {
                             return c == ':' || (c >= '0' && c <= '9');
                           });
  if (!well_formed || text[0] == ':' || text[1] == ':' || text[3] == ':' || text[4] == ':') return std::nullopt;
  const int minutes = (digit(0) * 10 + digit(1)) * 60 + digit(3) * 10 + digit(4);
  if (digit(3) > 5 || minutes >= 24 * 60) return std::nullopt;
  return absl::FixedTimeZone(west ? -minutes * 60 : minutes * 60);
}

std::optional<absl::TimeZone> find_zone(std::string_view name) {
  if (name.empty() || name == "UTC") return absl::UTCTimeZone();
  if (name.find(':') != std::string_view::npos) return fixed_zone(name);
  absl::TimeZone zone;
  if (!is_zone_name(name) || !absl::LoadTimeZone(absl::string_view(name.data(), name.size()), &zone)) {
    return std::nullopt;
  }
  return zone;
}

using Part = int64_t (*)(const absl::CivilSecond& civil, uint32_t nanos);

int64_t year_of(const absl::CivilSecond& civil, uint32_t) { return civil.year(); }
int64_t month_of(const absl::CivilSecond& civil, uint32_t) { return civil.month() - 1; }
int64_t date_of(const absl::CivilSecond& civil, uint32_t) { return civil.day(); }
int64_t day_of_month(const absl::CivilSecond& civil, uint32_t) { return civil.day() - 1; }
int64_t day_of_year(const absl::CivilSecond& civil, uint32_t) { return absl::GetYearDay(absl::CivilDay(civil)) - 1; }
int64_t day_of_week(const absl::CivilSecond& civil, uint32_t) {
  // abseil's week begins with Monday, CEL's with Sunday.
  return (static_cast<int64_t>(absl::GetWeekday(absl::CivilDay(civil))) + 1) % 7;
}
int64_t hours_of(const absl::CivilSecond& civil, uint32_t) { return civil.hour(); }
int64_t minutes_of(const absl::CivilSecond& civil, uint32_t) { return civil.minute(); }
int64_t seconds_of(const absl::CivilSecond& civil, uint32_t) { return civil.second(); }
int64_t milliseconds_of(const absl::CivilSecond&, uint32_t nanos) { return nanos / 1'000'000; }

// `unit` is that of durations, in nanoseconds; 0 for what they do not have.
template <Part part, int64_t unit>
Value part_of(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.is(ValueKind::kDuration) && unit > 0 && arguments.size() == 1) {
    return Value::of(value.duration_nanos() / std::max<int64_t>(unit, 1));
  }
  const bool has_zone = arguments.size() == 2;
  if (!value.is(ValueKind::kTimestamp) || (has_zone && !arguments[1].is(ValueKind::kString))) {
    return heap.no_such_overload("a part of a time", arguments);
  }
  if (!heap.charge(has_zone ? 100 : 1)) return heap.ended();
  const auto zone = has_zone ? find_zone(arguments[1].text()) : absl::UTCTimeZone();
  if (!zone) return heap.fail(ErrorKind::kConversion, "there is no time zone {}", describe(arguments[1]));
  return Value::of(part(absl::ToCivilSecond(absl::FromUnixSeconds(value.seconds()), *zone), value.nanos()));
}

}  // namespace

Value add_time(Heap& heap, Arguments arguments) {
  const auto& [a, b] = std::tie(arguments[0], arguments[1]);
  if (a.is(ValueKind::kDuration) && b.is(ValueKind::kDuration)) {
    return make_duration(heap, static_cast<__int128>(a.duration_nanos()) + b.duration_nanos());
  }
  if (a.kind() == b.kind()) return heap.no_such_overload("+", arguments);
  const bool forward = a.is(ValueKind::kTimestamp);
  return make_timestamp(heap, nanos_of(forward ? a : b) + (forward ? b : a).duration_nanos());
}

Value subtract_time(Heap& heap, Arguments arguments) {
  const auto& [a, b] = std::tie(arguments[0], arguments[1]);
  if (a.is(ValueKind::kTimestamp)) {
    if (b.is(ValueKind::kTimestamp)) return make_duration(heap, nanos_of(a) - nanos_of(b));
    return make_timestamp(heap, nanos_of(a) - b.duration_nanos());
  }
  if (b.is(ValueKind::kTimestamp)) return heap.no_such_overload("-", arguments);
  return make_duration(heap, static_cast<__int128>(a.duration_nanos()) - b.duration_nanos());
}

std::span<const Callee> time_functions() {
  static constexpr Callee kFunctions[] = {{"getFullYear", false, true, 1, 2, part_of<year_of, 0>},
                                          {"getMonth", false, true, 1, 2, part_of<month_of, 0>},
                                          {"getDate", false, true, 1, 2, part_of<date_of, 0>},
                                          {"getDayOfMonth", false, true, 1, 2, part_of<day_of_month, 0>},
                                          {"getDayOfYear", false, true, 1, 2, part_of<day_of_year, 0>},
                                          {"getDayOfWeek", false, true, 1, 2, part_of<day_of_week, 0>},
                                          {"getHours", false, true, 1, 2, part_of<hours_of, 3'600'000'000'000>},
                                          {"getMinutes", false, true, 1, 2, part_of<minutes_of, 60'000'000'000>},
                                          {"getSeconds", false, true, 1, 2, part_of<seconds_of, 1'000'000'000>},
                                          {"getMilliseconds", false, true, 1, 2, part_of<milliseconds_of, 1'000'000>}};
  return kFunctions;
}

}  // namespace headgate::engine::cel
