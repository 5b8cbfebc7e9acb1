// Functions from one type to another: int(), string(), timestamp() and their brothers.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "engine/cel/functions.h"

namespace headgate::engine::cel {
namespace {

using Arguments = std::span<const Value>;

// From here on Go writes a double with an exponent, and below 1e-4.
constexpr int kExponentMax = 6;

[[gnu::noinline]] Value no_conversion(Heap& heap, const Value& from, std::string_view to) {
  return heap.fail(ErrorKind::kConversion, "{} cannot be converted to {}", describe(from), to);
}

[[gnu::noinline]] Value out_of_range(Heap& heap, const Value& from, std::string_view to) {
  return heap.fail(ErrorKind::kOverflow, "{} is out of the range of {}", describe(from), to);
}

template <typename Number>
std::optional<Number> parse_whole(std::string_view text, bool may_have_plus) {
  if (may_have_plus && text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<double> parse_real(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  if (text.find('(') != std::string_view::npos) return std::nullopt;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end != text.data() + text.size()) return std::nullopt;
  if (error == std::errc()) return number;
  if (error != std::errc::result_out_of_range) return std::nullopt;
  number = std::strtod(std::string(text).c_str(), nullptr);  // too small is zero, too large is nothing
  if (std::abs(number) > 1) return std::nullopt;
  return number;
}

Value to_bool(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.is(ValueKind::kBool)) return value;
  if (!value.is(ValueKind::kString)) return heap.no_such_overload("bool", arguments);
  for (const std::string_view word : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (value.text() == word) return Value::of(true);
  }
  for (const std::string_view word : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (value.text() == word) return Value::of(false);
  }
  return no_conversion(heap, value, "bool");
}

Value to_int(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  switch (value.kind()) {
    case ValueKind::kInt: return value;
    case ValueKind::kDuration: return Value::of(value.duration_nanos());
    case ValueKind::kTimestamp: return Value::of(value.seconds());
    case ValueKind::kUint:
      if (value.natural() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) break;
      return Value::of(static_cast<int64_t>(value.natural()));
    case ValueKind::kDouble:
      // The ends of the range are no doubles of their own, so they are left out.
      if (!(value.real() > -9223372036854775808.0 && value.real() < 9223372036854775808.0)) break;
      return Value::of(static_cast<int64_t>(value.real()));
    case ValueKind::kString: {
      const auto number = parse_whole<int64_t>(value.text(), true);
      return number ? Value::of(*number) : no_conversion(heap, value, "int");
    }
    default: return heap.no_such_overload("int", arguments);
  }
  return out_of_range(heap, value, "int");
}

Value to_uint(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  switch (value.kind()) {
    case ValueKind::kUint: return value;
    case ValueKind::kInt:
      if (value.integer() < 0) break;
      return Value::of(static_cast<uint64_t>(value.integer()));
    case ValueKind::kDouble:
      if (!(value.real() >= 0 && value.real() < 18446744073709551616.0)) break;
      return Value::of(static_cast<uint64_t>(value.real()));
    case ValueKind::kString: {
      const auto number = parse_whole<uint64_t>(value.text(), false);
      return number ? Value::of(*number) : no_conversion(heap, value, "uint");
    }
    default: return heap.no_such_overload("uint", arguments);
  }
  return out_of_range(heap, value, "uint");
}

Value to_double(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  switch (value.kind()) {
    case ValueKind::kDouble: return value;
    case ValueKind::kInt: return Value::of(static_cast<double>(value.integer()));
    case ValueKind::kUint: return Value::of(static_cast<double>(value.natural()));
    case ValueKind::kString: {
      const auto number = parse_real(value.text());
      return number ? Value::of(*number) : no_conversion(heap, value, "double");
    }
    default: return heap.no_such_overload("double", arguments);
  }
}

Value to_string(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  switch (value.kind()) {
    case ValueKind::kString: return value;
    case ValueKind::kBool: return Value::text(value.boolean() ? "true" : "false");
    case ValueKind::kInt: return heap.text(fmt::format("{}", value.integer()));
    case ValueKind::kUint: return heap.text(fmt::format("{}", value.natural()));
    case ValueKind::kDouble: return heap.text(format_double(value.real()));
    case ValueKind::kTimestamp: return heap.text(format_timestamp(value));
    case ValueKind::kDuration: return heap.text(format_duration(value.duration_nanos()));
    case ValueKind::kBytes:
      if (!heap.charge_text(value.text().size())) return heap.ended();
      if (is_utf8(value.text())) return Value::text(value.text());
      return heap.fail(ErrorKind::kConversion, "invalid UTF-8 in bytes, cannot convert to string");
    default: return heap.no_such_overload("string", arguments);
  }
}

Value to_bytes(Heap& heap, Arguments arguments) {
  if (arguments[0].is(ValueKind::kBytes)) return arguments[0];
  if (arguments[0].is(ValueKind::kString)) return Value::bytes(arguments[0].text());
  return heap.no_such_overload("bytes", arguments);
}

Value to_timestamp(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.is(ValueKind::kTimestamp)) return value;
  if (value.is(ValueKind::kInt)) {
    if (is_timestamp_in_range(value.integer())) return Value::timestamp(value.integer(), 0);
    return out_of_range(heap, value, "timestamp");
  }
  if (!value.is(ValueKind::kString)) return heap.no_such_overload("timestamp", arguments);
  const auto timestamp = parse_timestamp(value.text());
  return timestamp ? *timestamp : no_conversion(heap, value, "timestamp, as in 2024-01-31T23:59:59Z");
}

Value to_duration(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.is(ValueKind::kDuration)) return value;
  if (!value.is(ValueKind::kString)) return heap.no_such_overload("duration", arguments);
  const auto nanos = parse_duration(value.text());
  return nanos ? Value::duration(*nanos) : no_conversion(heap, value, "duration, as in 1h30m or 2.5s");
}

Value to_dyn(Heap&, Arguments arguments) { return arguments[0]; }
Value type_of(Heap&, Arguments arguments) { return Value::type(type_name(arguments[0].kind())); }

}  // namespace

std::span<const Callee> conversions() {
  static constexpr Callee kFunctions[] = {{"bool", true, false, 1, 1, to_bool},
                                          {"int", true, false, 1, 1, to_int},
                                          {"uint", true, false, 1, 1, to_uint},
                                          {"double", true, false, 1, 1, to_double},
                                          {"string", true, false, 1, 1, to_string},
                                          {"bytes", true, false, 1, 1, to_bytes},
                                          {"timestamp", true, false, 1, 1, to_timestamp},
                                          {"duration", true, false, 1, 1, to_duration},
                                          {"dyn", true, false, 1, 1, to_dyn},
                                          {"type", true, false, 1, 1, type_of}};
  return kFunctions;
}

std::string format_double(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 400> text;
  const auto write = [&](std::chars_format format) {
    return std::string(text.data(), std::to_chars(text.data(), text.data() + text.size(), value, format).ptr);
  };
  std::string scientific = write(std::chars_format::scientific);
  const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
  return exponent < -4 || exponent >= kExponentMax ? scientific : write(std::chars_format::fixed);
}

}  // namespace headgate::engine::cel
