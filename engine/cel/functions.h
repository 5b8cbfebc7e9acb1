// What the operators and functions of the library do. Of this folder only.
//
// Arguments are no errors. A combination of kinds that no overload has gives "no such overload".
#pragma once

#include <optional>
#include <string_view>

#include "engine/cel/step.h"

namespace headgate::engine::cel {

struct Callee {
  std::string_view name;
  bool as_function = false;
  bool as_method = false;
  size_t arguments_min = 1;  // the target of a method counts
  size_t arguments_max = 1;
  Function function = nullptr;
};

// Operators of two operands: "_+_", "@in", "_[_]".
Function find_binary(std::string_view function);
// "size", "getHours", "-_"; null when there is none with so many arguments.
Function find_function(std::string_view function, bool method, size_t arguments);

// Tables of the parts of the library.
std::span<const Callee> text_functions();
std::span<const Callee> conversions();
std::span<const Callee> time_functions();

// Whether two values are equal; numbers whatever their type, values of different kinds are not.
bool equal(const Value& a, const Value& b, Heap& heap);

// Operators on times and durations. REQUIRES: one of the operands is one.
Value add_time(Heap& heap, std::span<const Value> arguments);
Value subtract_time(Heap& heap, std::span<const Value> arguments);

// What `pattern` tells of `text`, once it is compiled.
Value match(Heap& heap, const Value& text, const re2::RE2& pattern);
re2::RE2::Options pattern_options();

// Texts of times.
std::optional<Value> parse_timestamp(std::string_view text);
std::optional<int64_t> parse_duration(std::string_view text);
std::string format_timestamp(const Value& timestamp);
std::string format_duration(int64_t nanos);
// As Go writes a double: 1e+06, 0.1, +Inf.
std::string format_double(double value);

bool is_timestamp_in_range(int64_t seconds);
bool is_utf8(std::string_view text);

}  // namespace headgate::engine::cel
