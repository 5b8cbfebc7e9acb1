#include "engine/schema/names.h"

namespace headgate::engine {
namespace {

bool fail(Fault& fault, base::v1::ErrorCode code, const Name& name, std::string text) {
  fault = {code, name.place, std::move(text)};
  return false;
}

bool add_member(EntityNames& names, const Name& name, Member member, base::v1::ErrorCode code, Fault& fault) {
  if (names.members.emplace(name.text, member).second) return true;
  return fail(fault, code, name,
              fmt::format("entity '{}' has '{}' already; relations, attributes and permissions share their names",
                          names.entity->name.text, name.text));
}

}  // namespace

const Member* EntityNames::find(std::string_view name) const {
  const auto found = members.find(name);
  return found == members.end() ? nullptr : &found->second;
}

std::optional<Names> Names::of(const Schema& schema, Fault& fault) {
  Names names;
  for (const Entity& entity : schema.entities) {
    if (!names.add(entity, fault)) return std::nullopt;
  }
  for (const Rule& rule : schema.rules) {
    if (!names.add(rule, fault)) return std::nullopt;
  }
  return names;
}

const EntityNames* Names::find_entity(std::string_view name) const {
  const auto found = entities_.find(name);
  return found == entities_.end() ? nullptr : &found->second;
}

const RuleNames* Names::find_rule(std::string_view name) const {
  const auto found = rules_.find(name);
  return found == rules_.end() ? nullptr : &found->second;
}

bool Names::add(const Entity& entity, Fault& fault) {
  EntityNames& names = entities_[entity.name.text];
  if (names.entity != nullptr) {
    return fail(fault, base::v1::ERROR_CODE_DUPLICATED_ENTITY_REFERENCE, entity.name,
                fmt::format("there is an entity '{}' already", entity.name.text));
  }
  names.entity = &entity;
  for (const Relation& relation : entity.relations) {
    const Member member{&relation, nullptr, nullptr};
    if (!add_member(names, relation.name, member, base::v1::ERROR_CODE_DUPLICATED_RELATION_REFERENCE, fault)) {
      return false;
    }
  }
  for (const Attribute& attribute : entity.attributes) {
    const Member member{nullptr, &attribute, nullptr};
    if (!add_member(names, attribute.name, member, base::v1::ERROR_CODE_SCHEMA_COMPILE, fault)) return false;
  }
  for (const Permission& permission : entity.permissions) {
    const Member member{nullptr, nullptr, &permission};
    if (!add_member(names, permission.name, member, base::v1::ERROR_CODE_DUPLICATED_PERMISSION_REFERENCE, fault)) {
      return false;
    }
  }
  return true;
}

bool Names::add(const Rule& rule, Fault& fault) {
  if (find_entity(rule.name.text) != nullptr) {
    return fail(fault, base::v1::ERROR_CODE_DUPLICATED_ENTITY_REFERENCE, rule.name,
                fmt::format("there is an entity '{}' already; entities and rules share their names", rule.name.text));
  }
  RuleNames& names = rules_[rule.name.text];
  if (names.rule != nullptr) {
    return fail(fault, base::v1::ERROR_CODE_DUPLICATED_ENTITY_REFERENCE, rule.name,
                fmt::format("there is a rule '{}' already", rule.name.text));
  }
  names.rule = &rule;
  for (const Attribute& parameter : rule.parameters) {
    if (names.parameters.emplace(parameter.name.text, &parameter).second) continue;
    return fail(fault, base::v1::ERROR_CODE_INVALID_ARGUMENT, parameter.name,
                fmt::format("rule '{}' has a parameter '{}' already", rule.name.text, parameter.name.text));
  }
  return true;
}

}  // namespace headgate::engine
