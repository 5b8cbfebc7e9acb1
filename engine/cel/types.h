// Types of expressions, with variables for what is not known yet, and the rules of which type fits where.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/cel/compile.h"

namespace headgate::engine::cel {

enum class Kind {
  kDyn,
  kNull,
  kBool,
  kInt,
  kUint,
  kDouble,
  kString,
  kBytes,
  kTimestamp,
  kDuration,
  kAny,
  kWrapper,  // of its first part; only as a value of its own
  kMessage,
  kList,
  kMap,
  kType,
  kVariable,
};

struct TypeNode {
  Kind kind = Kind::kDyn;
  std::vector<const TypeNode*> parts;  // element; key and value; the type of a type
  std::string name;                    // of a message
};
using TypeRef = const TypeNode*;

// Owns the types of one compilation. Not for several threads.
class Types {
 public:
  Types();

  TypeRef simple(Kind kind) const { return &simple_[static_cast<size_t>(kind)]; }
  TypeRef list(TypeRef element) { return make({Kind::kList, {element}, ""}); }
  TypeRef map(TypeRef key, TypeRef value) { return make({Kind::kMap, {key, value}, ""}); }
  TypeRef type_of(TypeRef type) { return make({Kind::kType, {type}, ""}); }
  TypeRef wrapper(TypeRef type) { return make({Kind::kWrapper, {type}, ""}); }
  TypeRef message(std::string name) { return make({Kind::kMessage, {}, std::move(name)}); }
  TypeRef variable() { return make({Kind::kVariable, {}, ""}); }

  TypeRef from_proto(const Type& type);
  // REQUIRES: no variables.
  static void to_proto(TypeRef type, Type& out);

  // With variables replaced by what they stand for; those that stand for nothing become dyn if so wanted.
  TypeRef resolve(TypeRef type, bool unknown_to_dyn);

  // Whether a value of the first type may stand where the second is wanted. Binds variables when it may, and leaves
  // no trace when not.
  bool is_assignable(TypeRef from, TypeRef to);
  bool are_assignable(const std::vector<TypeRef>& from, const std::vector<TypeRef>& to);

  // The type that covers both, of two where one is assignable to the other.
  TypeRef more_general(TypeRef a, TypeRef b) const;

  static bool equal(TypeRef a, TypeRef b);

 private:
  struct Substitution {
    bool valid = false;
    bool known = false;  // the variable stood for something already
  };

  TypeRef make(TypeNode node);
  TypeRef find(TypeRef variable) const;
  void bind(TypeRef variable, TypeRef type);
  void undo_to(size_t mark);
  bool fits(TypeRef from, TypeRef to);
  bool fits_structurally(TypeRef from, TypeRef to);
  Substitution substitute(TypeRef type, TypeRef variable);
  bool occurs(TypeRef variable, TypeRef within) const;
  static bool is_as_general(TypeRef a, TypeRef b);

  std::vector<TypeNode> simple_;
  std::deque<TypeNode> nodes_;
  std::unordered_map<TypeRef, TypeRef> bound_;
  std::vector<std::pair<TypeRef, TypeRef>> trail_;  // variable and what it stood for before
};

// "list(int)".
std::string describe(TypeRef type);

}  // namespace headgate::engine::cel
