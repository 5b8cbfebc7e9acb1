#include "engine/write/text_form.h"

#include <charconv>
#include <cmath>

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::Tuple;

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Splits at the only occurrence of `separator`; false when there is none or more than one.
bool split(std::string_view text, char separator, std::string_view* left, std::string_view* right) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos || text.find(separator, at + 1) != std::string_view::npos) return false;
  *left = text.substr(0, at);
  *right = text.substr(at + 1);
  return true;
}

// "type:id" into its parts, neither empty.
bool split_object(std::string_view text, std::string_view* type, std::string_view* id) {
  return split(text, ':', type, id) && !type->empty() && !id->empty();
}

// "type:id[#relation]".
bool split_userset(std::string_view text, std::string_view* type, std::string_view* id, std::string_view* relation) {
  if (text.find('#') == std::string_view::npos) return split_object(text, type, id);
  std::string_view object;
  return split(text, '#', &object, relation) && split_object(object, type, id);
}

std::vector<std::string_view> elements_of(std::string_view text) {
  std::vector<std::string_view> elements;
  for (size_t from = 0;;) {
    const size_t comma = text.find(',', from);
    elements.push_back(text.substr(from, comma - from));
    if (comma == std::string_view::npos) return elements;
    from = comma + 1;
  }
}

bool parse(std::string_view text, bool* value) {
  for (const std::string_view word : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == word) return *value = true;
  }
  *value = false;
  for (const std::string_view word : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == word) return true;
  }
  return false;
}

template <typename Number>
requires std::is_arithmetic_v<Number>
bool parse(std::string_view text, Number* value) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool parse(std::string_view text, std::string* value) {
  *value = text;
  return true;
}

template <typename Message, typename Data>
bool pack_one(std::string_view text, google::protobuf::Any* value) {
  Data data{};
  if (!parse(text, &data)) return false;
  Message message;
  message.set_data(data);
  return value->PackFrom(message);
}

template <typename Message, typename Data>
bool pack_list(std::string_view text, google::protobuf::Any* value) {
  Message message;
  for (const std::string_view element : elements_of(text)) {
    Data data{};
    if (!parse(element, &data)) return false;
    message.add_data(data);
  }
  return value->PackFrom(message);
}

bool pack(std::string_view type, std::string_view text, google::protobuf::Any* value) {
  using namespace base::v1;
  if (type == "boolean") return pack_one<BooleanValue, bool>(text, value);
  if (type == "string") return pack_one<StringValue, std::string>(text, value);
  if (type == "integer") return pack_one<IntegerValue, int32_t>(text, value);
  if (type == "double") return pack_one<DoubleValue, double>(text, value);
  if (type == "boolean[]") return pack_list<BooleanArrayValue, bool>(text, value);
  if (type == "string[]") return pack_list<StringArrayValue, std::string>(text, value);
  if (type == "integer[]") return pack_list<IntegerArrayValue, int32_t>(text, value);
  if (type == "double[]") return pack_list<DoubleArrayValue, double>(text, value);
  return false;
}

std::string to_text(std::string_view text) { return std::string(text); }

}  // namespace

StatusOr<Tuple> parse_tuple(std::string_view text) {
  std::string_view entity, subject, type, id, relation;
  Tuple tuple;
  if (!split(trim(text), '@', &entity, &subject) || !split_userset(entity, &type, &id, &relation)) {
    return invalid_argument("'{}' is not of the form type:id#relation@type:id#relation", text);
  }
  tuple.mutable_entity()->set_type(to_text(type));
  tuple.mutable_entity()->set_id(to_text(id));
  tuple.set_relation(to_text(relation));
  relation = {};
  if (!split_userset(subject, &type, &id, &relation)) {
    return invalid_argument("'{}' has no subject of the form type:id or type:id#relation", text);
  }
  tuple.mutable_subject()->set_type(to_text(type));
  tuple.mutable_subject()->set_id(to_text(id));
  tuple.mutable_subject()->set_relation(to_text(relation));
  return tuple;
}

StatusOr<Attribute> parse_attribute(std::string_view text) {
  std::string_view left, right, entity, name, type, id, value_type, value;
  if (!split(trim(text), '|', &left, &right) || !split(left, '$', &entity, &name) || name.empty() ||
      !split_object(entity, &type, &id) || !split(right, ':', &value_type, &value) || value.empty()) {
    return invalid_argument("'{}' is not of the form type:id$name|valuetype:value", text);
  }
  Attribute attribute;
  attribute.mutable_entity()->set_type(to_text(type));
  attribute.mutable_entity()->set_id(to_text(id));
  attribute.set_attribute(to_text(name));
  if (!pack(value_type, value, attribute.mutable_value())) {
    return invalid_argument("'{}' holds no value of type {}", text, value_type);
  }
  return attribute;
}

std::string format_tuple(const Tuple& tuple) {
  std::string text = fmt::format("{}:{}#{}@{}:{}", tuple.entity().type(), tuple.entity().id(), tuple.relation(),
                                 tuple.subject().type(), tuple.subject().id());
  if (!tuple.subject().relation().empty()) text += "#" + tuple.subject().relation();
  return text;
}

StatusOr<std::string> render_template(std::string_view text,
                                      const google::protobuf::Map<std::string, std::string>& arguments,
                                      size_t& bytes_left) {
  std::string out;
  const auto add = [&](std::string_view more) {
    if (more.size() > bytes_left) return false;
    bytes_left -= more.size();
    out += more;
    return true;
  };
  const auto too_much = [] { return make_status(StatusCode::kResourceExhausted, "the templates render to too much"); };
  for (size_t from = 0;;) {
    const size_t open = text.find("{{", from);
    if (!add(text.substr(from, open - from))) return too_much();
    if (open == std::string_view::npos) return out;
    const size_t close = text.find("}}", open);
    if (close == std::string_view::npos) return invalid_argument("'{}' has {{{{ without }}}}", text);
    const std::string_view action = trim(text.substr(open + 2, close - open - 2));
    const bool reference = action.size() > 1 && action[0] == '.' && action.find_first_of(" .|()\"$") == 0 &&
                           action.find_first_of(" .|()\"$", 1) == std::string_view::npos;
    if (!reference) return invalid_argument("'{}' has an action other than {{{{.argument}}}}", text);
    const auto found = arguments.find(to_text(action.substr(1)));
    if (found != arguments.end() && !add(found->second)) return too_much();
    from = close + 2;
  }
}

}  // namespace headgate::engine
