// The text forms of bundles: tuples, attributes, templates; and whole bundles. Lines:
//   argument NAME=VALUE   tuple TEXT   attribute TEXT   remove tuple TEXT   remove attribute TEXT   next
// A line of another kind is tried as a tuple, as an attribute and as a template.
#include "engine/storage/attribute_json.h"
#include "engine/write/text_form.h"
#include "engine/write/write_service.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

using base::v1::Attribute;
using base::v1::DataBundle;
using base::v1::Operation;
using base::v1::Tuple;
using Arguments = google::protobuf::Map<std::string, std::string>;

void demand_sound_tuple(const Tuple& tuple) {
  demand(!tuple.entity().type().empty() && !tuple.entity().id().empty(), "a tuple without an entity");
  demand(!tuple.subject().type().empty() && !tuple.subject().id().empty(), "a tuple without a subject");
  const std::string text = engine::format_tuple(tuple);
  const auto again = engine::parse_tuple(text);
  demand(again.ok(), "the text of a tuple does not parse: {}", text);
  demand_equal(*again, tuple, "a tuple and its text");
}

void demand_sound_attribute(const Attribute& attribute) {
  const auto json = engine::attribute_value_to_json(attribute.value());
  demand(json.ok(), "the value of an attribute cannot be stored: {}", describe(json.status()));
  const auto value = engine::attribute_value_from_json(*json);
  demand(value.ok(), "a stored value does not read: {}", *json);
  demand(value->SerializeAsString() == attribute.value().SerializeAsString(), "a value changes on its way: {}", *json);
}

void try_text(std::string_view text, const Arguments& arguments) {
  const auto tuple = engine::parse_tuple(text);
  if (tuple.ok())
    demand_sound_tuple(*tuple);
  else
    demand_refusal(tuple.status(), {StatusCode::kInvalidArgument});
  const auto attribute = engine::parse_attribute(text);
  if (attribute.ok())
    demand_sound_attribute(*attribute);
  else
    demand_refusal(attribute.status(), {StatusCode::kInvalidArgument});
  size_t bytes_left = 1 << 20;
  const auto rendered = engine::render_template(text, arguments, bytes_left);
  if (rendered.status().code() == StatusCode::kResourceExhausted) return;
  if (!rendered.ok()) return demand_refusal(rendered.status(), {StatusCode::kInvalidArgument});
  demand(is_utf8(*rendered), "a template renders to no UTF-8");
  demand(text.find("{{") != std::string_view::npos || *rendered == text, "a text without arguments changes: {}", text);
}

bool take(std::string_view& line, std::string_view word) {
  if (line.substr(0, word.size()) != word) return false;
  line.remove_prefix(word.size());
  return true;
}

void read_line(std::string_view line, DataBundle& bundle, Arguments& arguments) {
  Operation& operation = *bundle.mutable_operations()->rbegin();
  if (take(line, "argument ")) {
    const size_t equals = std::min(line.find('='), line.size());
    bundle.add_arguments(std::string(line.substr(0, equals)));
    if (equals < line.size()) arguments[bundle.arguments().rbegin()->c_str()] = std::string(line.substr(equals + 1));
  } else if (take(line, "tuple ")) {
    operation.add_relationships_write(std::string(line));
  } else if (take(line, "attribute ")) {
    operation.add_attributes_write(std::string(line));
  } else if (take(line, "remove tuple ")) {
    operation.add_relationships_delete(std::string(line));
  } else if (take(line, "remove attribute ")) {
    operation.add_attributes_delete(std::string(line));
  } else if (line == "next") {
    bundle.add_operations();
  } else {
    try_text(line, arguments);
  }
}

void try_bundle(const DataBundle& bundle, const Arguments& arguments) {
  const auto steps = engine::steps_of(bundle, arguments);
  if (!steps.ok()) return demand_refusal(steps.status(), {StatusCode::kInvalidArgument, StatusCode::kInternal});
  demand(steps->size() == static_cast<size_t>(bundle.operations_size()), "{} steps of {}", steps->size(),
         bundle.operations_size());
  for (int i = 0; i < bundle.operations_size(); ++i) {
    const engine::BundleStep& step = (*steps)[static_cast<size_t>(i)];
    const Operation& operation = bundle.operations(i);
    demand(step.tuples_write.size() == static_cast<size_t>(operation.relationships_write_size()), "a tuple is lost");
    demand(step.tuples_delete.size() == static_cast<size_t>(operation.relationships_delete_size()), "a tuple is lost");
    for (const Tuple& tuple : step.tuples_write) demand_sound_tuple(tuple);
    for (const Tuple& tuple : step.tuples_delete) demand_sound_tuple(tuple);
    for (const Attribute& attribute : step.attributes_write) demand_sound_attribute(attribute);
  }
}

}  // namespace

void text_form_target(std::string_view input) {
  // Texts of bundles have come through Protobuf and the edge, which refuses zero bytes.
  if (!is_utf8(input) || input.find('\0') != std::string_view::npos) return;
  DataBundle bundle;
  bundle.add_operations();
  Arguments arguments;
  for (Input lines(input); !lines.at_end();) read_line(lines.line(), bundle, arguments);
  try_bundle(bundle, arguments);
}

}  // namespace headgate::fuzz
