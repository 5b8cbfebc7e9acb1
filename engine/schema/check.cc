#include "engine/schema/check.h"

#include <map>

#include "engine/schema/compiler.h"
#include "engine/schema/printer.h"
#include "engine/schema/references.h"

namespace headgate::engine {
namespace {

std::vector<SchemaRow> print_rows(const Schema& schema, const std::vector<SchemaRow>& kept) {
  std::map<std::string, std::string> texts;
  for (const SchemaRow& row : kept) texts.emplace(row.name, row.text);
  for (const Entity& entity : schema.entities) {
    std::string name(entity.name.text);
    if (texts.count(name) == 0) texts.emplace(std::move(name), print(entity));
  }
  for (const Rule& rule : schema.rules) {
    std::string name(rule.name.text);
    if (texts.count(name) == 0) texts.emplace(std::move(name), print(rule));
  }
  std::vector<SchemaRow> rows;
  for (auto& [name, text] : texts) rows.push_back({name, std::move(text)});
  return rows;
}

}  // namespace

StatusOr<CompiledSchema> check_and_print(const Schema& schema, const std::vector<SchemaRow>& kept) {
  Fault fault;
  const auto names = Names::of(schema, fault);
  if (!names) return to_status(fault);
  if (!check_references(schema, *names, fault)) return to_status(fault);
  if (!compile_tree(schema, *names, fault)) return to_status(fault);
  CompiledSchema compiled;
  compiled.rows = print_rows(schema, kept);
  HG_ASSIGN_OR_RETURN(compiled.definition, read_schema(compiled.rows));
  return compiled;
}

}  // namespace headgate::engine
