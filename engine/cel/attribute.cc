#include "engine/cel/attribute.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "engine/cel/functions.h"

namespace headgate::engine::cel {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kDataField = 1;

struct AttributeShape {
  ValueKind element = ValueKind::kUnbound;
  bool array = false;
};

// Of the message that an Any says it holds.
AttributeShape attribute_shape_of(std::string_view url) {
  constexpr std::pair<std::string_view, AttributeShape> kShapes[] = {
      {"BooleanValue", {ValueKind::kBool, false}},     {"StringValue", {ValueKind::kString, false}},
      {"IntegerValue", {ValueKind::kInt, false}},      {"DoubleValue", {ValueKind::kDouble, false}},
      {"BooleanArrayValue", {ValueKind::kBool, true}}, {"StringArrayValue", {ValueKind::kString, true}},
      {"IntegerArrayValue", {ValueKind::kInt, true}},  {"DoubleArrayValue", {ValueKind::kDouble, true}}};
  constexpr std::string_view kPackage = "base.v1.";
  url.remove_prefix(std::min(url.size(), url.rfind('/') + 1));
  if (!url.starts_with(kPackage)) return {};
  for (const auto& [name, shape] : kShapes) {
    if (url.substr(kPackage.size()) == name) return shape;
  }
  return {};
}

Value zero_of_kind(ValueKind kind) {
  switch (kind) {
    case ValueKind::kBool: return Value::of(false);
    case ValueKind::kString: return Value::text("");
    case ValueKind::kInt: return Value::of(int64_t{0});
    default: return Value::of(0.0);
  }
}

WireFormatLite::WireType wire_type_of(ValueKind kind) {
  if (kind == ValueKind::kString) return WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
  return kind == ValueKind::kDouble ? WireFormatLite::WIRETYPE_FIXED64 : WireFormatLite::WIRETYPE_VARINT;
}

// Reads field 1 of the message wherever it stands, without copies: the messages of base.v1 have no other.
class WireReader {
 public:
  WireReader(std::string_view bytes, ValueKind kind) : bytes_(bytes), kind_(kind) {}

  // Tells every element. False when the bytes are broken.
  template <typename Add>
  bool each(Add add) const {
    CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes_.data()), static_cast<int>(bytes_.size()));
    while (const uint32_t tag = input.ReadTag()) {
      const auto wire = WireFormatLite::GetTagWireType(tag);
      bool good = false;
      if (WireFormatLite::GetTagFieldNumber(tag) != kDataField) {
        good = WireFormatLite::SkipField(&input, tag);
      } else if (wire == wire_type_of(kind_)) {
        good = take(input, add);
      } else {
        good = wire == WireFormatLite::WIRETYPE_LENGTH_DELIMITED ? take_packed(input, add)
                                                                 : WireFormatLite::SkipField(&input, tag);
      }
      if (!good) return false;
    }
    return input.ConsumedEntireMessage();
  }

 private:
  template <typename Add>
  bool take(CodedInputStream& input, Add& add) const {
    uint64_t number = 0;
    switch (wire_type_of(kind_)) {
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: return take_text(input, add);
      case WireFormatLite::WIRETYPE_FIXED64:
        if (!input.ReadLittleEndian64(&number)) return false;
        add(Value::of(WireFormatLite::DecodeDouble(number)));
        return true;
      default:
        if (!input.ReadVarint64(&number)) return false;
        add(kind_ == ValueKind::kBool ? Value::of(number != 0) : Value::of(int64_t{static_cast<int32_t>(number)}));
        return true;
    }
  }

  template <typename Add>
  bool take_text(CodedInputStream& input, Add& add) const {
    uint32_t length = 0;
    if (!input.ReadVarint32(&length)) return false;
    const auto begin = static_cast<size_t>(input.CurrentPosition());
    if (length > bytes_.size() - begin || !input.Skip(static_cast<int>(length))) return false;
    const std::string_view text = bytes_.substr(begin, length);
    if (!is_utf8(text)) return false;
    add(Value::text(text));
    return true;
  }

  template <typename Add>
  bool take_packed(CodedInputStream& input, Add& add) const {
    uint32_t length = 0;
    if (!input.ReadVarint32(&length) || length > static_cast<uint32_t>(std::numeric_limits<int>::max())) return false;
    const auto limit = input.PushLimit(static_cast<int>(length));
    while (input.BytesUntilLimit() > 0) {
      if (!take(input, add)) return false;
    }
    input.PopLimit(limit);
    return true;
  }

  std::string_view bytes_;
  ValueKind kind_;
};

}  // namespace

Value from_attribute(const google::protobuf::Any& attribute, Heap& heap) {
  const AttributeShape shape = attribute_shape_of(attribute.type_url());
  if (shape.element == ValueKind::kUnbound) {
    return heap.fail(ErrorKind::kConversion, "an attribute of type '{}' has no value in rules", attribute.type_url());
  }
  const WireReader reader(attribute.value(), shape.element);
  size_t count = 0;
  Value last = zero_of_kind(shape.element);
  const bool good = reader.each([&](const Value& value) {
    ++count;
    last = value;
  });
  if (!good) return heap.fail(ErrorKind::kConversion, "the bytes of an attribute are no {}", attribute.type_url());
  if (!shape.array) return last;
  Value* elements = heap.attribute_values(count);
  if (elements == nullptr) return heap.ended();
  count = 0;
  reader.each([&](const Value& value) { elements[count++] = value; });
  return Value::list({elements, count});
}

Value zero_of(base::v1::AttributeType type) {
  switch (type) {
    case base::v1::ATTRIBUTE_TYPE_BOOLEAN: return zero_of_kind(ValueKind::kBool);
    case base::v1::ATTRIBUTE_TYPE_STRING: return zero_of_kind(ValueKind::kString);
    case base::v1::ATTRIBUTE_TYPE_INTEGER: return zero_of_kind(ValueKind::kInt);
    case base::v1::ATTRIBUTE_TYPE_DOUBLE: return zero_of_kind(ValueKind::kDouble);
    default: return Value::list(std::span<const Value>());
  }
}

}  // namespace headgate::engine::cel
