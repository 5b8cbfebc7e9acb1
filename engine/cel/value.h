// Values of expressions while they are evaluated.
//
// A Value has 16 bytes and owns nothing: texts, lists and maps stand in the memory of the evaluation (heap.h), in the
// compiled expression or in the caller's messages, and those outlive it. Values are immutable; any thread may read
// them.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace headgate::engine::cel {

enum class ValueKind : uint8_t {
  kUnbound,  // a variable that nobody gave a value
  kNull,
  kBool,
  kInt,
  kUint,
  kDouble,
  kString,  // well-formed UTF-8
  kBytes,
  kList,
  kMap,
  kTimestamp,
  kDuration,
  kType,
  kError,
};

// What goes wrong in an expression. The first ones are CEL's own and are absorbed by && and ||; the last three end the
// evaluation whatever stands around them.
enum class ErrorKind : uint8_t {
  kNoSuchOverload,
  kUnboundVariable,
  kNoSuchKey,
  kIndexOutOfRange,
  kDivideByZero,
  kModulusByZero,
  kOverflow,
  kConversion,  // a text that is no number, a number that does not fit
  kUnsupportedKey,
  kRepeatedKey,
  kUnorderable,  // NaN
  kPattern,
  kTooManySteps,
  kTooMuchMemory,
  kDeadline,
};

struct ValueError {
  ErrorKind kind;
  std::string_view text;
};

struct MapEntry;

class Value {
 public:
  Value() = default;

  static Value null() { return Value(ValueKind::kNull, 0); }
  static Value of(bool value) { return Value(ValueKind::kBool, 0, {.boolean = value}); }
  static Value of(int64_t value) { return Value(ValueKind::kInt, 0, {.integer = value}); }
  static Value of(uint64_t value) { return Value(ValueKind::kUint, 0, {.natural = value}); }
  static Value of(double value) { return Value(ValueKind::kDouble, 0, {.real = value}); }
  static Value text(std::string_view text) { return borrow(ValueKind::kString, text); }
  static Value bytes(std::string_view bytes) { return borrow(ValueKind::kBytes, bytes); }
  static Value type(std::string_view name) { return borrow(ValueKind::kType, name); }
  static Value list(std::span<const Value> elements);
  static Value list(const google::protobuf::ListValue& json);
  // REQUIRES: sorted by order_of_keys, no key twice.
  static Value map(std::span<const MapEntry> entries);
  static Value map(const google::protobuf::Struct& json);
  // Numbers of JSON are doubles, as CEL has it.
  static Value json(const google::protobuf::Value& json);
  // REQUIRES: within the years 1 to 9999, nanos below a second.
  static Value timestamp(int64_t seconds, uint32_t nanos) {
    return Value(ValueKind::kTimestamp, nanos, {.integer = seconds});
  }
  static Value duration(int64_t nanos) { return Value(ValueKind::kDuration, 0, {.integer = nanos}); }
  static Value error(const ValueError& error) { return Value(ValueKind::kError, 0, {.error = &error}); }

  ValueKind kind() const { return kind_; }
  bool is(ValueKind kind) const { return kind_ == kind; }
  bool is_error() const { return kind_ == ValueKind::kError; }
  bool is_true() const { return kind_ == ValueKind::kBool && is_.boolean; }
  bool is_false() const { return kind_ == ValueKind::kBool && !is_.boolean; }
  bool is_number() const {
    return kind_ == ValueKind::kInt || kind_ == ValueKind::kUint || kind_ == ValueKind::kDouble;
  }

  // REQUIRES: of this kind.
  bool boolean() const { return is_.boolean; }
  int64_t integer() const { return is_.integer; }  // kInt
  uint64_t natural() const { return is_.natural; }
  double real() const { return is_.real; }
  std::string_view text() const { return {is_.text, extra_}; }  // kString, kBytes, kType
  int64_t seconds() const { return is_.integer; }               // kTimestamp
  uint32_t nanos() const { return extra_; }                     // kTimestamp
  int64_t duration_nanos() const { return is_.integer; }
  const ValueError& error() const { return *is_.error; }

  // Of a list or a map.
  size_t size() const;
  // REQUIRES: a list, index below size().
  Value at(size_t index) const;
  // The value of a key of a map; kUnbound when there is none. Numbers are one key whatever their type.
  Value find(const Value& key) const;
  // Of a map that an expression or the caller made; empty for JSON.
  std::span<const MapEntry> entries() const;
  // Null unless it is a map of JSON.
  const google::protobuf::Struct* json_fields() const { return json_ ? is_.fields : nullptr; }

 private:
  union Payload {
    bool boolean;
    int64_t integer;
    uint64_t natural;
    double real;
    const char* text;
    const Value* elements;
    const MapEntry* entries;
    const google::protobuf::ListValue* values;
    const google::protobuf::Struct* fields;
    const ValueError* error;
  };

  Value(ValueKind kind, uint32_t extra) : kind_(kind), extra_(extra) {}
  Value(ValueKind kind, uint32_t extra, Payload payload) : kind_(kind), extra_(extra), is_(payload) {}
  static Value borrow(ValueKind kind, std::string_view text) {
    return Value(kind, static_cast<uint32_t>(text.size()), {.text = text.data()});
  }

  ValueKind kind_ = ValueKind::kUnbound;
  bool json_ = false;   // a list or map that still is JSON
  uint32_t extra_ = 0;  // bytes, elements, entries or nanoseconds
  Payload is_{.integer = 0};
};
static_assert(sizeof(Value) == 16);

struct MapEntry {
  Value key;
  Value value;
};

// Less, equal or greater than zero: booleans, then whole numbers of either type, then texts.
// REQUIRES: kinds that may be keys.
int order_of_keys(const Value& a, const Value& b);

// -1, 0, 1 of two numbers; 2 when one of them is NaN. Beside a double the other one becomes a double, too, as CEL has
// it.
int order_of_numbers(const Value& a, const Value& b);

// "int", "list", "google.protobuf.Timestamp": what type() tells.
std::string_view type_name(ValueKind kind);

// The beginning of a text of UTF-8, without a part of a character at its end.
std::string_view shorten(std::string_view text, size_t bytes_max);

// As an expression would write it, "[1, 'a']"; long ones are cut. For messages and tests.
std::string describe(const Value& value);

}  // namespace headgate::engine::cel
