#include "engine/schema/schema.h"

#include "engine/model/errors.h"
#include "engine/schema/check.h"
#include "engine/schema/compiler.h"
#include "engine/schema/parser.h"
#include "engine/schema/rows.h"

namespace headgate::engine {

StatusOr<CompiledSchema> compile_schema(std::string_view text) {
  const Source source{text, ""};
  if (const size_t bad = find_unreadable(text); bad != std::string_view::npos) {
    return to_status(
        {base::v1::ERROR_CODE_SCHEMA_PARSE, {&source, bad}, "the text is not UTF-8, or holds a zero byte"});
  }
  Schema schema;
  Parser parser(source);
  if (!parser.parse_schema(schema)) return to_status(parser.fault());
  return check_and_print(schema);
}

StatusOr<base::v1::SchemaDefinition> read_schema(const std::vector<SchemaRow>& rows) {
  HG_ASSIGN_OR_RETURN(const StoredSchema stored, StoredSchema::parse(rows));
  return stored.compile();
}

StatusOr<base::v1::EntityDefinition> read_entity(const SchemaRow& row) {
  const std::vector<SchemaRow> rows{row};
  HG_ASSIGN_OR_RETURN(const StoredSchema stored, StoredSchema::parse(rows));
  HG_ASSIGN_OR_RETURN(base::v1::SchemaDefinition definition, stored.compile());
  const auto found = definition.mutable_entity_definitions()->find(row.name);
  if (found == definition.mutable_entity_definitions()->end()) {
    return api_error(base::v1::ERROR_CODE_ENTITY_DEFINITION_NOT_FOUND);
  }
  return std::move(found->second);
}

StatusOr<base::v1::RuleDefinition> read_rule(const SchemaRow& row) {
  const std::vector<SchemaRow> rows{row};
  HG_ASSIGN_OR_RETURN(const StoredSchema stored, StoredSchema::parse(rows));
  HG_ASSIGN_OR_RETURN(base::v1::SchemaDefinition definition, stored.compile());
  const auto found = definition.mutable_rule_definitions()->find(row.name);
  if (found == definition.mutable_rule_definitions()->end()) {
    return api_error(base::v1::ERROR_CODE_RULE_DEFINITION_NOT_FOUND);
  }
  return std::move(found->second);
}

}  // namespace headgate::engine
