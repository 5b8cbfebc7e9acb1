// apply_partials: changes single statements of stored entities.
#include <deque>
#include <map>
#include <unordered_map>

#include "engine/model/errors.h"
#include "engine/schema/check.h"
#include "engine/schema/parser.h"
#include "engine/schema/rows.h"
#include "engine/schema/schema.h"

namespace headgate::engine {
namespace {

using base::v1::Partials;

template <typename T>
std::vector<T>& members_of(Entity& entity) {
  if constexpr (std::is_same_v<T, Relation>) return entity.relations;
  if constexpr (std::is_same_v<T, Attribute>) return entity.attributes;
  if constexpr (std::is_same_v<T, Permission>) return entity.permissions;
}

enum class Kind { kRelation, kAttribute, kPermission };
Kind kind_of(const Statement& statement) { return static_cast<Kind>(statement.index()); }

struct Slot {
  Kind kind;
  size_t index;
};

class Change {
 public:
  Change(Entity& entity, std::deque<Source>& sources) : entity_(entity), sources_(sources) {
    for (size_t i = 0; i < entity.relations.size(); ++i) add(entity.relations[i].name, {Kind::kRelation, i});
    for (size_t i = 0; i < entity.attributes.size(); ++i) add(entity.attributes[i].name, {Kind::kAttribute, i});
    for (size_t i = 0; i < entity.permissions.size(); ++i) add(entity.permissions[i].name, {Kind::kPermission, i});
  }

  Status apply(const Partials& partials) {
    for (int i = 0; i < partials.write_size(); ++i) {
      HG_ASSIGN_OR_RETURN(Statement statement, parse(partials.write(i), "write", i));
      HG_RETURN_IF_ERROR(write(std::move(statement)));
    }
    for (int i = 0; i < partials.update_size(); ++i) {
      HG_ASSIGN_OR_RETURN(Statement statement, parse(partials.update(i), "update", i));
      HG_RETURN_IF_ERROR(update(std::move(statement)));
    }
    for (const std::string& name : partials.delete_()) {
      if (slots_.erase(name) == 0) return api_error(base::v1::ERROR_CODE_REFERENCE_NOT_FOUND);
    }
    const auto is_gone = [&](const auto& member) { return slots_.count(member.name.text) == 0; };
    std::erase_if(entity_.relations, is_gone);
    std::erase_if(entity_.attributes, is_gone);
    std::erase_if(entity_.permissions, is_gone);
    return ok_status();
  }

 private:
  StatusOr<Statement> parse(std::string_view text, std::string_view list, int index) {
    const Source& source =
        sources_.emplace_back(Source{text, fmt::format("{}.{}[{}]", entity_.name.text, list, index)});
    if (const size_t bad = find_unreadable(text); bad != std::string_view::npos) {
      return to_status(
          {base::v1::ERROR_CODE_SCHEMA_PARSE, {&source, bad}, "the text is not UTF-8, or holds a zero byte"});
    }
    Parser parser(source);
    auto statement = parser.parse_statement();
    if (!statement) return to_status(parser.fault());
    return std::move(*statement);
  }

  void add(const Name& name, Slot slot) { slots_.emplace(name.text, slot); }

  Status write(Statement statement) {
    const Name name = name_of(statement);
    if (slots_.count(name.text) != 0) return api_error(base::v1::ERROR_CODE_ALREADY_EXIST);
    const Kind kind = kind_of(statement);
    std::visit(
        [&](auto& s) {
          auto& members = members_of<std::decay_t<decltype(s)>>(entity_);
          add(name, {kind, members.size()});
          members.push_back(std::move(s));
        },
        statement);
    return ok_status();
  }

  Status update(Statement statement) {
    const Name name = name_of(statement);
    const auto slot = slots_.find(name.text);
    if (slot == slots_.end()) return api_error(base::v1::ERROR_CODE_REFERENCE_NOT_FOUND);
    if (slot->second.kind != kind_of(statement)) {
      return to_status({base::v1::ERROR_CODE_SCHEMA_COMPILE, name.place,
                        fmt::format("'{}' is of another kind; an update keeps a relation a relation, an attribute an "
                                    "attribute and a permission a permission: delete it, then write it",
                                    name.text)});
    }
    const size_t index = slot->second.index;
    std::visit([&](auto& s) { members_of<std::decay_t<decltype(s)>>(entity_)[index] = std::move(s); }, statement);
    return ok_status();
  }

  Entity& entity_;
  std::deque<Source>& sources_;
  std::unordered_map<std::string_view, Slot> slots_;
};

// Statements of the stored schema by name; null stands for a rule.
using Statements = std::unordered_map<std::string_view, Entity*>;

Statements statements_of(Schema& schema) {
  Statements statements;
  for (Entity& entity : schema.entities) statements.emplace(entity.name.text, &entity);
  for (const Rule& rule : schema.rules) statements.emplace(rule.name.text, nullptr);
  return statements;
}

StatusOr<Entity*> find_entity(const Statements& statements, const std::string& name) {
  const auto found = statements.find(name);
  if (found == statements.end()) return api_error(base::v1::ERROR_CODE_ENTITY_STATEMENT_NOT_FOUND);
  if (found->second == nullptr) return api_error(base::v1::ERROR_CODE_CANNOT_CONVERT_TO_ENTITY_STATEMENT);
  return found->second;
}

}  // namespace

StatusOr<CompiledSchema> apply_partials(const std::vector<SchemaRow>& rows,
                                        const google::protobuf::Map<std::string, Partials>& partials) {
  HG_ASSIGN_OR_RETURN(StoredSchema stored, StoredSchema::parse(rows));
  const std::map<std::string, const Partials*> ordered = [&] {
    std::map<std::string, const Partials*> result;
    for (const auto& [name, partial] : partials) result.emplace(name, &partial);
    return result;
  }();
  const Statements statements = statements_of(stored.tree());
  std::deque<Source> sources;
  for (const auto& [name, partial] : ordered) {
    HG_ASSIGN_OR_RETURN(Entity* const entity, find_entity(statements, name));
    HG_RETURN_IF_ERROR(Change(*entity, sources).apply(*partial));
  }
  std::vector<SchemaRow> kept;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(kept),
               [&](const SchemaRow& row) { return ordered.count(row.name) == 0; });
  return check_and_print(stored.tree(), kept);
}

}  // namespace headgate::engine
