// A stored schema and changes of single statements: the schema, then parts "%% write ENTITY", "%% update ENTITY" with
// one statement and "%% delete ENTITY" with one name each.
#include <map>

#include "engine/schema/schema.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"
#include "tests/fuzz/schema_properties.h"

namespace headgate::fuzz {
namespace {

using Partials = google::protobuf::Map<std::string, base::v1::Partials>;

std::string_view without_line_feed(std::string_view text) {
  return !text.empty() && text.back() == '\n' ? text.substr(0, text.size() - 1) : text;
}

void add(const Part& part, Partials& partials) {
  const size_t blank = std::min(part.heading.find(' '), part.heading.size());
  const std::string_view verb = part.heading.substr(0, blank);
  base::v1::Partials& of_entity = partials[std::string(part.heading.substr(std::min(blank + 1, part.heading.size())))];
  if (verb == "write") of_entity.add_write(std::string(part.text));
  if (verb == "update") of_entity.add_update(std::string(part.text));
  if (verb == "delete") of_entity.add_delete_(std::string(without_line_feed(part.text)));
}

}  // namespace

void partials_target(std::string_view input) {
  const std::vector<Part> parts = parts_of(input);
  const auto compiled = engine::compile_schema(parts[0].text);
  if (!compiled.ok()) return;
  Partials partials;
  for (size_t i = 1; i < parts.size(); ++i) add(parts[i], partials);
  const auto changed = engine::apply_partials(compiled->rows, partials);
  if (!changed.ok()) {
    // Clients know this one by its name, and by the code of its number.
    if (changed.status().message() == "ERROR_CODE_CANNOT_CONVERT_TO_ENTITY_STATEMENT") return;
    return demand_refusal(changed.status(), {StatusCode::kInvalidArgument, StatusCode::kNotFound});
  }
  demand_sound(*changed);
  demand(changed->rows.size() == compiled->rows.size(), "partials added or removed a row");
  for (size_t i = 0; i < changed->rows.size(); ++i) {
    const bool named = partials.contains(changed->rows[i].name);
    demand(named || changed->rows[i].text == compiled->rows[i].text, "a row that was not named has changed: {}",
           changed->rows[i].text);
  }
}

}  // namespace headgate::fuzz
