#include "engine/schema/references.h"

#include <unordered_set>

#include "engine/schema/compiler.h"

namespace headgate::engine {
namespace {

// Steps over types of relations, for all arrows of a schema together. No real schema comes near; it keeps a hostile
// one from costing more than its length.
constexpr size_t kMaxArrowSteps = 10'000'000;

class ReferenceCheck {
 public:
  ReferenceCheck(const Names& names, Fault& fault) : names_(names), fault_(fault) {}

  bool check_relations(const Entity& entity) {
    for (const Relation& relation : entity.relations) {
      for (const RelationType& type : relation.types) {
        if (!check_type(type)) return false;
      }
    }
    return true;
  }

  bool check_permissions(const Entity& entity) {
    entity_ = names_.find_entity(entity.name.text);
    for (const Permission& permission : entity.permissions) {
      if (!check(permission.expression)) return false;
    }
    return true;
  }

 private:
  bool fail(base::v1::ErrorCode code, const Name& name, std::string text) {
    fault_ = {code, name.place, std::move(text)};
    return false;
  }

  bool undefined(const Name& name, std::string text) {
    return fail(base::v1::ERROR_CODE_UNDEFINED_RELATION_REFERENCE, name, std::move(text));
  }

  std::string_view entity_name() const { return entity_->entity->name.text; }

  bool check_type(const RelationType& type) {
    constexpr auto kCode = base::v1::ERROR_CODE_RELATION_REFERENCE_NOT_FOUND_IN_ENTITY_REFERENCES;
    const EntityNames* entity = names_.find_entity(type.type.text);
    if (entity == nullptr) return fail(kCode, type.type, fmt::format("there is no entity '{}'", type.type.text));
    if (!type.relation) return true;
    const Member* member = entity->find(type.relation->text);
    if (member != nullptr && member->relation != nullptr) return true;
    const std::string_view why = member == nullptr               ? "has no relation"
                                 : member->permission != nullptr ? "has a permission, not a relation,"
                                                                 : "has an attribute, not a relation,";
    return fail(kCode, *type.relation, fmt::format("entity '{}' {} '{}'", type.type.text, why, type.relation->text));
  }

  bool check(const Expression& expression) {
    if (expression.is_operation()) return check(*expression.left) && check(*expression.right);
    if (expression.kind == Expression::Kind::kCall) return check_call(expression);
    if (expression.path.size() == 1) return check_name(expression.path[0]);
    if (expression.path.size() == 2) return check_arrow(expression.path);
    return true;  // longer paths are the compiler's fault to report
  }

  bool check_name(const Name& name) {
    if (entity_->find(name.text) != nullptr) return true;
    return undefined(
        name, fmt::format("entity '{}' has no relation, permission or attribute '{}'", entity_name(), name.text));
  }

  bool check_arrow(const Path& path) {
    const Member* member = entity_->find(path[0].text);
    if (member == nullptr || member->relation == nullptr) {
      const std::string_view what = member == nullptr ? "has no relation" : "needs a relation in front of '.', not";
      return undefined(path[0], fmt::format("entity '{}' {} '{}'", entity_name(), what, path[0].text));
    }
    visited_.clear();
    return check_target(*member->relation, path[1]);
  }

  // A set such as team#member stands for the types of that relation; sets may contain each other.
  bool check_target(const Relation& first, const Name& target) {
    std::vector<const Relation*> open{&first};
    visited_.insert(&first);
    while (!open.empty()) {
      const Relation& relation = *open.back();
      open.pop_back();
      for (const RelationType& type : relation.types) {
        if (++arrow_steps_ > kMaxArrowSteps) {
          return fail(base::v1::ERROR_CODE_SCHEMA_COMPILE, target, "too many relations refer to each other");
        }
        const EntityNames* entity = names_.find_entity(type.type.text);
        if (!type.relation) {
          if (!check_target_in(*entity, target)) return false;
          continue;
        }
        const Relation* next = entity->find(type.relation->text)->relation;
        if (visited_.insert(next).second) open.push_back(next);
      }
    }
    return true;
  }

  bool check_target_in(const EntityNames& entity, const Name& target) {
    const Member* member = entity.find(target.text);
    if (member != nullptr && member->attribute == nullptr) return true;
    const std::string_view why =
        member == nullptr ? "has no relation or permission" : "has an attribute, not a relation,";
    return undefined(target, fmt::format("entity '{}' {} '{}'", entity.entity->name.text, why, target.text));
  }

  bool check_call(const Expression& call) {
    const Name& name = call.path[0];
    const RuleNames* rule = names_.find_rule(name.text);
    if (rule == nullptr) {
      return fail(base::v1::ERROR_CODE_INVALID_RULE_REFERENCE, name, fmt::format("there is no rule '{}'", name.text));
    }
    if (rule->rule->parameters.size() != call.arguments.size()) {
      return fail(base::v1::ERROR_CODE_MISSING_ARGUMENT, name,
                  fmt::format("rule '{}' has {} parameters, and gets {} arguments here", name.text,
                              rule->rule->parameters.size(), call.arguments.size()));
    }
    for (const Path& argument : call.arguments) {
      if (argument.size() == 1 && !check_argument(*rule, argument[0])) return false;
    }
    return true;
  }

  bool check_argument(const RuleNames& rule, const Name& argument) {
    const Member* member = entity_->find(argument.text);
    if (member == nullptr || member->attribute == nullptr) {
      return fail(base::v1::ERROR_CODE_INVALID_RULE_REFERENCE, argument,
                  fmt::format("entity '{}' has no attribute '{}'", entity_name(), argument.text));
    }
    const auto parameter = rule.parameters.find(argument.text);
    if (parameter == rule.parameters.end()) {
      return fail(base::v1::ERROR_CODE_INVALID_ARGUMENT, argument,
                  fmt::format("rule '{}' has no parameter '{}'; an argument and its parameter have one name",
                              rule.rule->name.text, argument.text));
    }
    const std::string given = spell(member->attribute->type);
    const std::string wanted = spell(parameter->second->type);
    if (given == wanted) return true;
    return fail(base::v1::ERROR_CODE_INVALID_ARGUMENT, argument,
                fmt::format("attribute '{}' is {}, and rule '{}' wants {}", argument.text, given, rule.rule->name.text,
                            wanted));
  }

  const Names& names_;
  Fault& fault_;
  const EntityNames* entity_ = nullptr;
  std::unordered_set<const Relation*> visited_;
  size_t arrow_steps_ = 0;
};

}  // namespace

bool check_references(const Schema& schema, const Names& names, Fault& fault) {
  if (schema.entities.empty()) {
    fault = {base::v1::ERROR_CODE_NO_ENTITY_REFERENCES_FOUND_IN_SCHEMA,
             {},
             "the schema has no entity: write one as entity name { ... }"};
    return false;
  }
  ReferenceCheck check(names, fault);
  for (const Entity& entity : schema.entities) {
    if (!check.check_relations(entity)) return false;
  }
  for (const Entity& entity : schema.entities) {
    if (!check.check_permissions(entity)) return false;
  }
  return true;
}

}  // namespace headgate::engine
