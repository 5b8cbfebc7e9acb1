#include "engine/check/expansion.h"

#include "engine/check/values.h"
#include "engine/model/errors.h"

namespace headgate::engine {

namespace {

using base::v1::Expand;
using base::v1::ExpandTreeNode;

// A message that is deeper cannot be read by most libraries, and is taken apart by recursion.
constexpr int kTreeDepthMax = 500;
constexpr size_t kTop = SIZE_MAX;

ExpandTreeNode::Operation operation_of(base::v1::Rewrite::Operation operation) {
  return static_cast<ExpandTreeNode::Operation>(operation);
}

base::v1::Entity entity_of(const base::v1::Subject& subject) {
  base::v1::Entity entity;
  entity.set_type(subject.type());
  entity.set_id(subject.id());
  return entity;
}

}  // namespace

StatusOr<Expand> Expansion::run(const base::v1::Entity& entity, const std::string& name) {
  Expand root;
  HG_RETURN_IF_ERROR(expand(&root, 0, kTop, entity, name));
  while (!tasks_.empty()) {
    std::vector<Task> tasks;
    tasks.swap(tasks_);
    for (Task& task : tasks) {
      HG_ASSIGN_OR_RETURN(const bool met, meet(task));
      if (!met) tasks_.push_back(std::move(task));
    }
    HG_RETURN_IF_ERROR(check_limits());
    if (facts_.missed()) {
      HG_RETURN_IF_ERROR(facts_.fetch());
    }
  }
  return root;
}

Status Expansion::check_limits() const {
  HG_RETURN_IF_ERROR(scope_.still_wanted());
  if (nodes_ <= scope_.limits.nodes_max) return ok_status();
  return status_of(StatusCode::kResourceExhausted, "the tree has more than {} nodes", scope_.limits.nodes_max);
}

const base::v1::EntityDefinition& Expansion::definition(size_t step) const {
  return scope_.schema->entity_definitions().at(steps_[step].entity.type());
}

void Expansion::head(Expand* node, size_t step, const std::string& name) const {
  *node->mutable_entity() = steps_[step].entity;
  node->set_permission(name);
}

bool Expansion::comes_again(size_t above, const base::v1::Entity& entity, const std::string& name) const {
  for (size_t at = above; at != kTop; at = steps_[at].above) {
    const Step& step = steps_[at];
    if (step.name == name && step.entity.id() == entity.id() && step.entity.type() == entity.type()) return true;
  }
  return false;
}

Expand* Expansion::add_child(Expand* node) {
  ++nodes_;
  return node->mutable_expand()->add_children();
}

Status Expansion::expand(Expand* node, int depth, size_t above, const base::v1::Entity& entity,
                         const std::string& name) {
  const auto& definitions = scope_.schema->entity_definitions();
  const auto found = definitions.find(entity.type());
  if (found == definitions.end()) return api_error(base::v1::ERROR_CODE_SCHEMA_NOT_FOUND);
  if (comes_again(above, entity, name)) {
    *node->mutable_entity() = entity;
    node->set_permission(name);
    node->mutable_leaf()->mutable_subjects();
    return ok_status();
  }
  if (depth > kTreeDepthMax) return api_error(base::v1::ERROR_CODE_DEPTH_NOT_ENOUGH);
  HG_RETURN_IF_ERROR(check_limits());
  const size_t step = steps_.size();
  steps_.push_back({entity, name, above});
  const auto reference = found->second.references().find(name);
  using Definition = base::v1::EntityDefinition;
  const auto kind =
      reference == found->second.references().end() ? Definition::REFERENCE_UNSPECIFIED : reference->second;
  switch (kind) {
    case Definition::REFERENCE_PERMISSION:
      return build(node, depth, step, found->second.permissions().at(name).child());
    case Definition::REFERENCE_RELATION:
      tasks_.push_back({Task::Kind::kRelation, node, step, name, "", {}, depth});
      break;
    case Definition::REFERENCE_ATTRIBUTE:
      tasks_.push_back({Task::Kind::kAttribute, node, step, name, "", {}, depth});
      break;
    default:
      if (!scope_.schema->rule_definitions().contains(name)) return api_error(base::v1::ERROR_CODE_SCHEMA_NOT_FOUND);
      return open_call(node, step, name, scope_.arguments != nullptr ? *scope_.arguments : Arguments());
  }
  return ok_status();
}

Status Expansion::build(Expand* node, int depth, size_t step, const base::v1::Child& child) {
  if (child.has_leaf()) return build_leaf(node, depth, step, child.leaf());
  if (depth > kTreeDepthMax) return api_error(base::v1::ERROR_CODE_DEPTH_NOT_ENOUGH);
  const std::string name = steps_[step].name;
  head(node, step, name);
  node->mutable_expand()->set_operation(operation_of(child.rewrite().rewrite_operation()));
  // Nodes are given out before any is filled: they stay where they are, because the list holds pointers.
  for (const base::v1::Child& one : child.rewrite().children()) {
    HG_RETURN_IF_ERROR(build(add_child(node), depth + 1, step, one));
  }
  return ok_status();
}

Status Expansion::build_leaf(Expand* node, int depth, size_t step, const base::v1::Leaf& leaf) {
  const base::v1::Entity entity = steps_[step].entity;
  if (leaf.has_computed_user_set()) return expand(node, depth, step, entity, leaf.computed_user_set().relation());
  if (leaf.has_computed_attribute()) return expand(node, depth, step, entity, leaf.computed_attribute().name());
  if (leaf.has_call()) return open_call(node, step, leaf.call().rule_name(), leaf.call().arguments());
  const base::v1::TupleToUserSet& arrow = leaf.tuple_to_user_set();
  head(node, step, arrow.tupleset().relation());
  node->mutable_expand()->set_operation(ExpandTreeNode::OPERATION_UNION);
  tasks_.push_back(
      {Task::Kind::kArrow, node, step, arrow.tupleset().relation(), arrow.computed().relation(), nullptr, depth});
  return ok_status();
}

Status Expansion::open_call(Expand* node, size_t step, const std::string& rule, const Arguments& arguments) {
  head(node, step, rule);
  *node->mutable_arguments() = arguments;
  tasks_.push_back({Task::Kind::kCall, node, step, rule, "", &node->arguments(), 0});
  return ok_status();
}

StatusOr<bool> Expansion::meet(const Task& task) {
  switch (task.kind) {
    case Task::Kind::kRelation: return meet_relation(task);
    case Task::Kind::kArrow: return meet_arrow(task);
    case Task::Kind::kAttribute: return meet_attribute(task);
    default: return meet_call(task);
  }
}

StatusOr<bool> Expansion::meet_relation(const Task& task) {
  const base::v1::Entity entity = steps_[task.step].entity;
  const Facts::Subjects* subjects = facts_.subjects({entity.type(), entity.id(), task.name});
  if (subjects == nullptr) return false;
  std::vector<const base::v1::Subject*> sets;
  base::v1::Subjects listed;
  for (const base::v1::Subject& one : *subjects) {
    if (!one.relation().empty()) sets.push_back(&one);
    if (one.relation().empty()) *listed.add_subjects() = one;
  }
  for (const base::v1::Subject* one : sets) *listed.add_subjects() = *one;
  nodes_ += static_cast<size_t>(listed.subjects_size());
  head(task.node, task.step, task.name);
  if (sets.empty()) {
    *task.node->mutable_leaf()->mutable_subjects() = std::move(listed);
    return true;
  }
  task.node->mutable_expand()->set_operation(ExpandTreeNode::OPERATION_UNION);
  for (const base::v1::Subject* one : sets) {
    HG_RETURN_IF_ERROR(expand(add_child(task.node), task.depth + 1, task.step, entity_of(*one), one->relation()));
  }
  Expand* const leaf = add_child(task.node);
  head(leaf, task.step, task.name);
  *leaf->mutable_leaf()->mutable_subjects() = std::move(listed);
  return true;
}

StatusOr<bool> Expansion::meet_arrow(const Task& task) {
  const base::v1::Entity entity = steps_[task.step].entity;
  const Facts::Subjects* subjects = facts_.subjects({entity.type(), entity.id(), task.name});
  if (subjects == nullptr) return false;
  for (const base::v1::Subject& one : *subjects) {
    HG_RETURN_IF_ERROR(expand(add_child(task.node), task.depth + 1, task.step, entity_of(one), task.computed));
  }
  return true;
}

StatusOr<bool> Expansion::meet_attribute(const Task& task) {
  const base::v1::Entity& entity = steps_[task.step].entity;
  const Facts::Value* value = facts_.attribute({entity.type(), entity.id(), task.name});
  if (value == nullptr) return false;
  const base::v1::AttributeType type = definition(task.step).attributes().at(task.name).type();
  head(task.node, task.step, task.name);
  *task.node->mutable_leaf()->mutable_value() = value->contextual != nullptr ? *value->contextual
                                                : value->stored              ? *value->stored
                                                                             : zero_of(type);
  return true;
}

StatusOr<bool> Expansion::meet_call(const Task& task) {
  HG_ASSIGN_OR_RETURN(const std::optional<RuleCall> call,
                      call_of(facts_, definition(task.step), steps_[task.step].entity, task.arguments));
  if (!call) return false;
  auto& values = *task.node->mutable_leaf()->mutable_values()->mutable_values();
  for (const auto& [name, value] : call->arguments) values[name] = value;
  return true;
}

}  // namespace headgate::engine
