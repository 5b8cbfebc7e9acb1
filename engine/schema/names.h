// Finds what a name of a schema stands for. Built once per tree; views into it.
#pragma once

#include <optional>
#include <string_view>
#include <unordered_map>

#include "engine/schema/tree.h"

namespace headgate::engine {

struct Member {
  const Relation* relation = nullptr;
  const Attribute* attribute = nullptr;
  const Permission* permission = nullptr;
};

struct EntityNames {
  const Entity* entity = nullptr;
  std::unordered_map<std::string_view, Member> members;

  // Null when the entity has no such member.
  const Member* find(std::string_view name) const;
};

struct RuleNames {
  const Rule* rule = nullptr;
  std::unordered_map<std::string_view, const Attribute*> parameters;
};

class Names {
 public:
  // Nothing and a fault when a name is used twice. The tree outlives the result and does not change.
  static std::optional<Names> of(const Schema& schema, Fault& fault);

  const EntityNames* find_entity(std::string_view name) const;
  const RuleNames* find_rule(std::string_view name) const;

 private:
  bool add(const Entity& entity, Fault& fault);
  bool add(const Rule& rule, Fault& fault);

  std::unordered_map<std::string_view, EntityNames> entities_;
  std::unordered_map<std::string_view, RuleNames> rules_;
};

}  // namespace headgate::engine
