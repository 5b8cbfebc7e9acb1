#include "tests/fuzz/schema_properties.h"

#include <algorithm>

#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

using base::v1::SchemaDefinition;
using engine::CompiledSchema;
using engine::SchemaRow;

template <typename T>
const T& accepted(const StatusOr<T>& result, std::string_view what) {
  demand(result.ok(), "{}: {}", what, describe(result.status()));
  return *result;
}

std::string joined(const std::vector<SchemaRow>& rows) {
  std::string text;
  for (const SchemaRow& row : rows) text += row.text;
  return text;
}

// Positions inside of rules count from the beginning of a text, and printing may move the body.
SchemaDefinition without_positions(SchemaDefinition definition) {
  for (auto& [name, rule] : *definition.mutable_rule_definitions()) rule.mutable_expression()->clear_source_info();
  return definition;
}

void demand_single_rows(const CompiledSchema& compiled) {
  for (const SchemaRow& row : compiled.rows) {
    if (compiled.definition.entity_definitions().contains(row.name)) {
      const auto entity = engine::read_entity(row);
      demand(accepted(entity, "an entity's row").name() == row.name, "row {} holds entity {}", row.name,
             entity->name());
    } else {
      const auto rule = engine::read_rule(row);
      demand_equal(accepted(rule, "a rule's row"), compiled.definition.rule_definitions().at(row.name), "rules");
    }
  }
}

}  // namespace

void demand_sound(const CompiledSchema& compiled) {
  const size_t names = compiled.definition.entity_definitions_size() + compiled.definition.rule_definitions_size();
  demand(compiled.rows.size() == names, "{} rows of {} names", compiled.rows.size(), names);
  std::vector<SchemaRow> rows = compiled.rows;
  std::reverse(rows.begin(), rows.end());
  const auto read = engine::read_schema(rows);
  demand_equal(accepted(read, "stored rows"), compiled.definition, "rows in another order");
  demand_single_rows(compiled);

  const auto again = engine::compile_schema(joined(compiled.rows));
  accepted(again, "the stored text");
  demand_equal(without_positions(again->definition), without_positions(compiled.definition), "the schema, printed");
  for (size_t i = 0; i < compiled.rows.size(); ++i) {
    const bool is_entity = compiled.definition.entity_definitions().contains(compiled.rows[i].name);
    demand(!is_entity || again->rows[i].text == compiled.rows[i].text, "an entity prints differently:\n{}\n{}",
           compiled.rows[i].text, again->rows[i].text);
  }
  const auto third = engine::compile_schema(joined(again->rows));
  accepted(third, "the text stored twice");
  demand(joined(third->rows) == joined(again->rows), "the second and the third print differ:\n{}\n{}",
         joined(again->rows), joined(third->rows));
}

}  // namespace headgate::fuzz
