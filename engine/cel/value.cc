#include "engine/cel/value.h"

#include <cmath>

namespace headgate::engine::cel {
namespace {

template <typename Number>
int order(Number a, Number b) {
  return a < b ? -1 : (b < a ? 1 : 0);
}

int order_int_uint(int64_t a, uint64_t b) { return a < 0 ? -1 : order(static_cast<uint64_t>(a), b); }

double as_double(const Value& number) {
  if (number.is(ValueKind::kDouble)) return number.real();
  return number.is(ValueKind::kInt) ? static_cast<double>(number.integer()) : static_cast<double>(number.natural());
}

bool is_nan(const Value& value) { return value.is(ValueKind::kDouble) && std::isnan(value.real()); }

// A double as the integer that it is, so that it finds the very key and none that is rounded to it.
Value as_whole(const Value& key) {
  if (!key.is(ValueKind::kDouble)) return key;
  const double real = key.real();
  if (real >= -0x1p63 && real < 0x1p63 && real == std::trunc(real)) return Value::of(static_cast<int64_t>(real));
  if (real >= 0x1p63 && real < 0x1p64) return Value::of(static_cast<uint64_t>(real));
  return Value();
}

int rank_of_key(const Value& key) { return key.is(ValueKind::kBool) ? 0 : key.is_number() ? 1 : 2; }

constexpr size_t kDescribedMax = 200;

void describe_to(const Value& value, std::string& out);

void describe_items(const Value& value, std::string& out) {
  out += '[';
  for (size_t i = 0; i < value.size() && out.size() < kDescribedMax; ++i) {
    if (i > 0) out += ", ";
    describe_to(value.at(i), out);
  }
  out += ']';
}

void describe_entries(const Value& value, std::string& out) {
  out += '{';
  const auto add = [&](const Value& key, const Value& item) {
    if (out.back() != '{') out += ", ";
    describe_to(key, out);
    out += ": ";
    describe_to(item, out);
  };
  for (const MapEntry& entry : value.entries()) {
    if (out.size() < kDescribedMax) add(entry.key, entry.value);
  }
  if (const auto* json = value.json_fields()) {
    const std::map<std::string_view, const google::protobuf::Value*> sorted = [&] {
      std::map<std::string_view, const google::protobuf::Value*> made;
      for (const auto& [key, item] : json->fields()) made.emplace(key, &item);
      return made;
    }();
    for (const auto& [key, item] : sorted) {
      if (out.size() < kDescribedMax) add(Value::text(key), Value::json(*item));
    }
  }
  out += '}';
}

void describe_to(const Value& value, std::string& out) {
  switch (value.kind()) {
    case ValueKind::kUnbound: out += "nothing"; return;
    case ValueKind::kNull: out += "null"; return;
    case ValueKind::kBool: out += value.boolean() ? "true" : "false"; return;
    case ValueKind::kInt: out += fmt::format("{}", value.integer()); return;
    case ValueKind::kUint: out += fmt::format("{}u", value.natural()); return;
    case ValueKind::kDouble: out += fmt::format("{}", value.real()); return;
    case ValueKind::kString: out += fmt::format("'{}'", shorten(value.text(), kDescribedMax)); return;
    case ValueKind::kBytes: out += fmt::format("bytes of {}", value.text().size()); return;
    case ValueKind::kList: return describe_items(value, out);
    case ValueKind::kMap: return describe_entries(value, out);
    case ValueKind::kTimestamp: out += fmt::format("timestamp({}.{:09})", value.seconds(), value.nanos()); return;
    case ValueKind::kDuration: out += fmt::format("duration({}ns)", value.duration_nanos()); return;
    case ValueKind::kType: out += value.text(); return;
    case ValueKind::kError: out += fmt::format("error: {}", value.error().text); return;
  }
}

}  // namespace

Value Value::list(std::span<const Value> elements) {
  return Value(ValueKind::kList, static_cast<uint32_t>(elements.size()), {.elements = elements.data()});
}

Value Value::list(const google::protobuf::ListValue& json) {
  Value value(ValueKind::kList, static_cast<uint32_t>(json.values_size()), {.values = &json});
  value.json_ = true;
  return value;
}

Value Value::map(std::span<const MapEntry> entries) {
  return Value(ValueKind::kMap, static_cast<uint32_t>(entries.size()), {.entries = entries.data()});
}

Value Value::map(const google::protobuf::Struct& json) {
  Value value(ValueKind::kMap, static_cast<uint32_t>(json.fields().size()), {.fields = &json});
  value.json_ = true;
  return value;
}

Value Value::json(const google::protobuf::Value& json) {
  using Json = google::protobuf::Value;
  switch (json.kind_case()) {
    case Json::kNumberValue: return of(json.number_value());
    case Json::kStringValue: return text(json.string_value());
    case Json::kBoolValue: return of(json.bool_value());
    case Json::kStructValue: return map(json.struct_value());
    case Json::kListValue: return list(json.list_value());
    default: return null();
  }
}

size_t Value::size() const { return extra_; }

Value Value::at(size_t index) const {
  return json_ ? json(is_.values->values(static_cast<int>(index))) : is_.elements[index];
}

std::span<const MapEntry> Value::entries() const {
  if (json_) return {};
  return {is_.entries, extra_};
}

Value Value::find(const Value& key) const {
  if (json_) {
    if (!key.is(ValueKind::kString)) return Value();
    const auto found = is_.fields->fields().find(key.text());
    return found == is_.fields->fields().end() ? Value() : json(found->second);
  }
  const Value wanted = as_whole(key);
  if (rank_of_key(wanted) == 2 && !wanted.is(ValueKind::kString)) return Value();
  const auto all = entries();
  const auto found = std::lower_bound(all.begin(), all.end(), wanted, [](const MapEntry& entry, const Value& other) {
    return order_of_keys(entry.key, other) < 0;
  });
  return found != all.end() && order_of_keys(found->key, wanted) == 0 ? found->value : Value();
}

int order_of_keys(const Value& a, const Value& b) {
  const int rank = rank_of_key(a);
  if (rank != rank_of_key(b)) return order(rank, rank_of_key(b));
  if (rank == 0) return order<int>(a.boolean(), b.boolean());
  return rank == 1 ? order_of_numbers(a, b) : a.text().compare(b.text());
}

int order_of_numbers(const Value& a, const Value& b) {
  if (a.is(ValueKind::kInt) && b.is(ValueKind::kInt)) return order(a.integer(), b.integer());
  if (is_nan(a) || is_nan(b)) return 2;
  if (a.is(ValueKind::kDouble) || b.is(ValueKind::kDouble)) return order(as_double(a), as_double(b));
  if (a.is(ValueKind::kInt)) return order_int_uint(a.integer(), b.natural());
  return b.is(ValueKind::kInt) ? -order_int_uint(b.integer(), a.natural()) : order(a.natural(), b.natural());
}

std::string_view shorten(std::string_view text, size_t bytes_max) {
  size_t length = std::min(text.size(), bytes_max);
  while (length < text.size() && length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  return text.substr(0, length);
}

std::string_view type_name(ValueKind kind) {
  switch (kind) {
    case ValueKind::kBool: return "bool";
    case ValueKind::kInt: return "int";
    case ValueKind::kUint: return "uint";
    case ValueKind::kDouble: return "double";
    case ValueKind::kString: return "string";
    case ValueKind::kBytes: return "bytes";
    case ValueKind::kList: return "list";
    case ValueKind::kMap: return "map";
    case ValueKind::kTimestamp: return "google.protobuf.Timestamp";
    case ValueKind::kDuration: return "google.protobuf.Duration";
    case ValueKind::kType: return "type";
    case ValueKind::kError: return "error";
    default: return "null_type";
  }
}

std::string describe(const Value& value) {
  std::string out;
  describe_to(value, out);
  return out;
}

}  // namespace headgate::engine::cel
