#include "engine/cel/types.h"

namespace headgate::engine::cel {
namespace {

constexpr std::pair<Kind, Type::PrimitiveType> kPrimitives[] = {
    {Kind::kBool, Type::BOOL},     {Kind::kInt, Type::INT64},     {Kind::kUint, Type::UINT64},
    {Kind::kDouble, Type::DOUBLE}, {Kind::kString, Type::STRING}, {Kind::kBytes, Type::BYTES}};

std::optional<Type::PrimitiveType> primitive_of(Kind kind) {
  for (const auto& [candidate, primitive] : kPrimitives) {
    if (candidate == kind) return primitive;
  }
  return std::nullopt;
}

bool takes_null(Kind kind) {
  return kind == Kind::kNull || kind == Kind::kTimestamp || kind == Kind::kDuration || kind == Kind::kMessage ||
         kind == Kind::kAny || kind == Kind::kWrapper;
}

}  // namespace

Types::Types() {
  for (int kind = 0; kind <= static_cast<int>(Kind::kVariable); ++kind) {
    simple_.push_back({static_cast<Kind>(kind), {}, ""});
  }
}

TypeRef Types::make(TypeNode node) { return &nodes_.emplace_back(std::move(node)); }

TypeRef Types::from_proto(const Type& type) {
  if (type.has_list_type()) return list(from_proto(type.list_type().elem_type()));
  for (const auto& [kind, primitive] : kPrimitives) {
    if (type.primitive() == primitive) return simple(kind);
  }
  return simple(Kind::kDyn);
}

void Types::to_proto(TypeRef type, Type& out) {
  if (const auto primitive = primitive_of(type->kind)) return out.set_primitive(*primitive);
  switch (type->kind) {
    case Kind::kNull: return out.set_null(google::protobuf::NULL_VALUE);
    case Kind::kTimestamp: return out.set_well_known(Type::TIMESTAMP);
    case Kind::kDuration: return out.set_well_known(Type::DURATION);
    case Kind::kAny: return out.set_well_known(Type::ANY);
    case Kind::kWrapper: return out.set_wrapper(*primitive_of(type->parts[0]->kind));
    case Kind::kMessage: return out.set_message_type(type->name);
    case Kind::kList: return to_proto(type->parts[0], *out.mutable_list_type()->mutable_elem_type());
    case Kind::kMap:
      to_proto(type->parts[0], *out.mutable_map_type()->mutable_key_type());
      return to_proto(type->parts[1], *out.mutable_map_type()->mutable_value_type());
    case Kind::kType:
      out.mutable_type();
      if (!type->parts.empty()) to_proto(type->parts[0], *out.mutable_type());
      return;
    default: out.mutable_dyn(); return;
  }
}

TypeRef Types::find(TypeRef variable) const {
  const auto found = bound_.find(variable);
  return found == bound_.end() ? nullptr : found->second;
}

void Types::bind(TypeRef variable, TypeRef type) {
  trail_.emplace_back(variable, find(variable));
  bound_[variable] = type;
}

void Types::undo_to(size_t mark) {
  for (; trail_.size() > mark; trail_.pop_back()) {
    const auto& [variable, before] = trail_.back();
    if (before == nullptr) {
      bound_.erase(variable);
    } else {
      bound_[variable] = before;
    }
  }
}

TypeRef Types::resolve(TypeRef type, bool unknown_to_dyn) {
  if (type->kind == Kind::kVariable) {
    if (const TypeRef found = find(type)) return resolve(found, unknown_to_dyn);
    return unknown_to_dyn ? simple(Kind::kDyn) : type;
  }
  if (type->parts.empty() || type->kind == Kind::kWrapper) return type;
  std::vector<TypeRef> parts;
  for (const TypeRef part : type->parts) parts.push_back(resolve(part, unknown_to_dyn));
  if (parts == type->parts) return type;
  return make({type->kind, std::move(parts), ""});
}

bool Types::is_assignable(TypeRef from, TypeRef to) {
  const size_t mark = trail_.size();
  if (fits(from, to)) return true;
  undo_to(mark);
  return false;
}

bool Types::are_assignable(const std::vector<TypeRef>& from, const std::vector<TypeRef>& to) {
  if (from.size() != to.size()) return false;
  const size_t mark = trail_.size();
  for (size_t i = 0; i < from.size(); ++i) {
    if (fits(from[i], to[i])) continue;
    undo_to(mark);
    return false;
  }
  return true;
}

// Substitutions are tried in both directions before the shapes are compared.
bool Types::fits(TypeRef from, TypeRef to) {
  if (to->kind == Kind::kVariable) {
    const Substitution tried = substitute(from, to);
    if (tried.valid) return true;
    if (tried.known) return false;
  }
  if (from->kind == Kind::kVariable) return substitute(to, from).valid;
  return fits_structurally(from, to);
}

bool Types::fits_structurally(TypeRef from, TypeRef to) {
  if (from->kind == Kind::kDyn || to->kind == Kind::kDyn) return true;
  if (from->kind == Kind::kNull) return takes_null(to->kind);
  if (to->kind == Kind::kNull) return takes_null(from->kind);
  if (from->kind != to->kind) return false;
  if (from->kind == Kind::kType) return true;
  if (from->kind != Kind::kList && from->kind != Kind::kMap) return equal(from, to);
  for (size_t i = 0; i < from->parts.size(); ++i) {
    if (!fits(from->parts[i], to->parts[i])) return false;
  }
  return true;
}

Types::Substitution Types::substitute(TypeRef type, TypeRef variable) {
  if (type == variable) return {true, true};
  const TypeRef known = find(variable);
  if (known == nullptr) {
    if (occurs(variable, type)) return {false, false};
    bind(variable, type);
    return {true, false};
  }
  if (equal(type, known)) return {true, true};
  if (!is_assignable(type, known)) return {false, true};
  const TypeRef general = more_general(type, known);
  if (!occurs(variable, general)) bind(variable, general);
  return {true, true};
}

bool Types::occurs(TypeRef variable, TypeRef within) const {
  if (variable == within) return true;
  if (within->kind == Kind::kVariable) {
    const TypeRef found = find(within);
    return found != nullptr && occurs(variable, found);
  }
  return std::any_of(within->parts.begin(), within->parts.end(), [&](TypeRef part) { return occurs(variable, part); });
}

TypeRef Types::more_general(TypeRef a, TypeRef b) const { return is_as_general(a, b) ? a : b; }

bool Types::is_as_general(TypeRef a, TypeRef b) {
  if (a->kind == Kind::kDyn || a->kind == Kind::kVariable) return true;
  if (b->kind == Kind::kDyn || b->kind == Kind::kVariable || a->kind != b->kind) return false;
  if (a->kind == Kind::kType) return true;
  if (a->kind != Kind::kList && a->kind != Kind::kMap) return equal(a, b);
  for (size_t i = 0; i < a->parts.size(); ++i) {
    if (!is_as_general(a->parts[i], b->parts[i])) return false;
  }
  return true;
}

bool Types::equal(TypeRef a, TypeRef b) {
  if (a == b) return true;
  if (a->kind != b->kind || a->kind == Kind::kVariable || a->name != b->name || a->parts.size() != b->parts.size()) {
    return false;
  }
  return std::equal(a->parts.begin(), a->parts.end(), b->parts.begin(), equal);
}

std::string describe(TypeRef type) {
  Type proto;
  Types::to_proto(type, proto);
  return describe(proto);
}

}  // namespace headgate::engine::cel
