#include "engine/check/reach.h"

#include "base/guard.h"

namespace headgate::engine {

namespace {

// Attributes and rules among the leaves, not looking into what they name.
int decided_by_values(const std::vector<Reach::Leaf>& leaves) {
  int count = 0;
  for (const auto& [leaf, decides] : leaves) count += leaf->has_call() || leaf->has_computed_attribute() ? 1 : 0;
  return count;
}

void collect(const base::v1::Child& child, bool decides, std::vector<Reach::Leaf>& into) {
  if (child.has_leaf()) {
    into.push_back({&child.leaf(), decides});
    return;
  }
  using Rewrite = base::v1::Rewrite;
  const Rewrite& rewrite = child.rewrite();
  const bool any = rewrite.rewrite_operation() == Rewrite::OPERATION_UNION;
  std::vector<Reach::Leaf> best;
  bool first = true;
  for (const base::v1::Child& one : rewrite.children()) {
    if (!first && (rewrite.rewrite_operation() == Rewrite::OPERATION_EXCLUSION || !guarded(Guard::kLookupSides))) break;
    std::vector<Reach::Leaf> found;
    collect(one, decides && any, found);
    if (any) {
      best.insert(best.end(), found.begin(), found.end());
    } else if (first || decided_by_values(found) < decided_by_values(best)) {
      best = std::move(found);
    }
    first = false;
  }
  into.insert(into.end(), best.begin(), best.end());
}

}  // namespace

Reach::Reach(const base::v1::SchemaDefinition& schema, const base::v1::Context* context, const Name& target)
    : schema_(schema), context_(context) {
  visit(target);
  while (!open_.empty()) {
    const Name name = open_.back();
    open_.pop_back();
    const auto entity = schema_.entity_definitions().find(name.first);
    if (entity == schema_.entity_definitions().end()) continue;
    const auto reference = entity->second.references().find(name.second);
    using Definition = base::v1::EntityDefinition;
    const auto kind =
        reference == entity->second.references().end() ? Definition::REFERENCE_UNSPECIFIED : reference->second;
    switch (kind) {
      case Definition::REFERENCE_PERMISSION:
        visit_permission(name, entity->second.permissions().at(name.second));
        break;
      case Definition::REFERENCE_RELATION: visit_relation(name, entity->second); break;
      default: values_.insert(name); break;
    }
  }
}

void Reach::visit(const Name& name) {
  if (seen_.insert(name).second) open_.push_back(name);
}

std::vector<Reach::Leaf> Reach::leaves(const base::v1::Child& child) {
  std::vector<Leaf> found;
  collect(child, true, found);
  return found;
}

void Reach::visit_permission(const Name& name, const base::v1::PermissionDefinition& permission) {
  for (const auto& [leaf, decides] : leaves(permission.child())) {
    if (leaf->has_computed_user_set()) {
      const Name of{name.first, leaf->computed_user_set().relation()};
      bool& follows = computed_[of][name];
      follows = follows || decides;
      visit(of);
    } else if (leaf->has_tuple_to_user_set()) {
      const Arrow arrow{name, leaf->tuple_to_user_set().tupleset().relation(),
                        leaf->tuple_to_user_set().computed().relation(), decides};
      arrows_[arrow.computed].push_back(arrow);
      const base::v1::EntityDefinition& entity = schema_.entity_definitions().at(name.first);
      const auto relation = entity.relations().find(arrow.relation);
      if (relation != entity.relations().end()) {
        for (const auto& one : relation->second.relation_references()) visit({one.type(), arrow.computed});
      }
      if (context_ == nullptr) continue;
      for (const base::v1::Tuple& tuple : context_->tuples()) {
        if (tuple.entity().type() != name.first || tuple.relation() != arrow.relation) continue;
        visit({tuple.subject().type(), arrow.computed});
      }
    } else {
      const std::string value = leaf->has_call() ? leaf->call().rule_name() : leaf->computed_attribute().name();
      values_.insert({name.first, value});
      computed_[{name.first, value}].try_emplace(name, false);
    }
  }
}

void Reach::visit_relation(const Name& name, const base::v1::EntityDefinition& entity) {
  std::set<Name> subjects;
  for (const auto& one : entity.relations().at(name.second).relation_references()) {
    subjects.insert({one.type(), one.relation()});
  }
  if (context_ != nullptr) {
    for (const base::v1::Tuple& tuple : context_->tuples()) {
      if (tuple.entity().type() != name.first || tuple.relation() != name.second) continue;
      subjects.insert({tuple.subject().type(), tuple.subject().relation()});
    }
  }
  for (const Name& one : subjects) {
    takers_[one].insert(name);
    if (!one.second.empty()) visit(one);
  }
}

}  // namespace headgate::engine
