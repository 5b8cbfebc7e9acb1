// What the parser makes of a schema text. Plain values; names are views into the sources.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/schema/rule_body.h"
#include "engine/schema/source.h"

namespace headgate::engine {

// How deep operators may stand inside each other: trees are walked recursively, here and by whoever receives them.
constexpr int kMaxExpressionDepth = 1000;

// "viewer", "parent.viewer"; the first name is the relation of the entity itself.
using Path = std::vector<Name>;

struct Expression {
  enum class Kind { kPath, kCall, kOr, kAnd, kNot };
  Kind kind = Kind::kPath;
  Place place;
  Path path;                    // kPath; for kCall the rule's name
  std::vector<Path> arguments;  // kCall
  std::unique_ptr<Expression> left;
  std::unique_ptr<Expression> right;
  int depth = 0;  // of operators below

  bool is_operation() const { return left != nullptr; }
};

struct RelationType {
  Name type;
  std::optional<Name> relation;
};
struct Relation {
  Name name;
  std::vector<RelationType> types;
};
// The type of an attribute or of a rule's parameter, as written.
struct ValueType {
  Name name;
  bool array = false;
};
struct Attribute {
  Name name;
  ValueType type;
};
struct Permission {
  Name name;
  Expression expression;
};

struct Entity {
  Name name;
  std::vector<Relation> relations;
  std::vector<Attribute> attributes;
  std::vector<Permission> permissions;
};

struct Rule {
  Name name;
  std::vector<Attribute> parameters;
  RuleBody body;
};

struct Schema {
  std::vector<Entity> entities;
  std::vector<Rule> rules;
};

}  // namespace headgate::engine
