#include "engine/schema/rows.h"

#include "engine/model/errors.h"
#include "engine/schema/compiler.h"
#include "engine/schema/parser.h"

namespace headgate::engine {
namespace {

Status unreadable(const Fault& fault) {
  return api_error(base::v1::ERROR_CODE_INTERNAL,
                   fmt::format("the stored schema cannot be read: {}", message_of(to_status(fault))));
}

}  // namespace

StatusOr<StoredSchema> StoredSchema::parse(const std::vector<SchemaRow>& rows) {
  StoredSchema stored;
  for (const SchemaRow& row : rows) {
    const Source& source = stored.sources_.emplace_back(Source{row.text, fmt::format("row {}", row.name)});
    if (const size_t bad = find_unreadable(row.text); bad != std::string_view::npos) {
      return unreadable({base::v1::ERROR_CODE_SCHEMA_PARSE, {&source, bad}, "not UTF-8, or a zero byte"});
    }
    Parser parser(source);
    if (!parser.parse_schema(stored.tree_)) return unreadable(parser.fault());
  }
  return stored;
}

StatusOr<base::v1::SchemaDefinition> StoredSchema::compile() const {
  Fault fault;
  const auto names = Names::of(tree_, fault);
  if (!names) return unreadable(fault);
  auto definition = compile_tree(tree_, *names, fault);
  if (!definition) return unreadable(fault);
  return std::move(*definition);
}

}  // namespace headgate::engine
