// What the nodes of an evaluation make of rows.
#include "base/guard.h"
#include "engine/check/evaluation.h"
#include "engine/check/rules.h"
#include "engine/check/values.h"
#include "engine/model/errors.h"

namespace headgate::engine {

bool Evaluation::meet(Id node) {
  const Need need = needs_[node];
  bool met = true;
  switch (need.kind) {
    case Need::Kind::kNone: break;
    case Need::Kind::kRelation: met = meet_relation(node, need); break;
    case Need::Kind::kArrow: met = meet_arrow(node, need); break;
    case Need::Kind::kAttribute: met = meet_attribute(node, need); break;
    case Need::Kind::kCall: met = meet_call(node, need); break;
  }
  if (met) needs_[node].kind = Need::Kind::kNone;
  return met;
}

bool Evaluation::meet_relation(Id node, const Need& need) {
  const SubProblem& problem = goals_[need.goal].problem;
  const base::v1::Subject& subject = *problem.subject;
  const RelationKey key{problem.entity.type(), problem.entity.id(), problem.name};
  const std::optional<bool> direct = facts_.tuple({key, subject.type(), subject.id(), subject.relation()});
  if (direct && *direct) {
    graph_.decide(node, true);
    return true;
  }
  const Facts::Subjects* sets = facts_.usersets(key);
  if (!direct || sets == nullptr) return false;
  for (const base::v1::Subject& one : *sets) {
    if (rule_.listed_only && one.type() == subject.type() && one.relation() == subject.relation()) continue;
    base::v1::Entity entity;
    entity.set_type(one.type());
    entity.set_id(one.id());
    graph_.add_operand(node, below(need.goal, entity, one.relation()));
  }
  graph_.complete(node);
  return true;
}

bool Evaluation::meet_arrow(Id node, const Need& need) {
  const SubProblem& problem = goals_[need.goal].problem;
  const Facts::Subjects* subjects = facts_.subjects({problem.entity.type(), problem.entity.id(), need.relation});
  if (subjects == nullptr) return false;
  for (const base::v1::Subject& one : *subjects) {
    base::v1::Entity entity;
    entity.set_type(one.type());
    entity.set_id(one.id());
    graph_.add_operand(node, below(need.goal, entity, need.computed));
    if (!guarded(Guard::kCheckArrows)) break;
  }
  graph_.complete(node);
  return true;
}

bool Evaluation::meet_attribute(Id node, const Need& need) {
  const SubProblem& problem = goals_[need.goal].problem;
  const Facts::Value* value = facts_.attribute({problem.entity.type(), problem.entity.id(), problem.name});
  if (value == nullptr) return false;
  const google::protobuf::Any* given = value->contextual;
  if (value->stored && (given == nullptr || !guarded(Guard::kCheckValues))) given = &*value->stored;
  if (given == nullptr) {
    graph_.decide(node, false);
    return true;
  }
  const StatusOr<bool> truth = boolean_of(*given);
  if (truth.ok()) {
    graph_.decide(node, *truth);
  } else {
    graph_.fail(node, truth.status());
  }
  return true;
}

bool Evaluation::meet_call(Id node, const Need& need) {
  const Goal& goal = goals_[need.goal];
  const std::string& name = goal.call != nullptr ? goal.call->rule_name() : goal.problem.name;
  StatusOr<std::optional<RuleCall>> call = call_of(facts_, *goal.entity, goal.problem.entity,
                                                   goal.call != nullptr ? &goal.call->arguments() : scope_.arguments);
  if (!call.ok()) {
    graph_.fail(node, call.status());
    return true;
  }
  if (!*call) return false;
  (*call)->version = joined({scope_.tenant, scope_.version});
  (*call)->deadline = scope_.end;
  (*call)->rule = &scope_.schema->rule_definitions().at(name);
  (*call)->data = scope_.context != nullptr && scope_.context->has_data() ? &scope_.context->data() : nullptr;
  const StatusOr<bool> holds = scope_.rules->holds(**call);
  if (holds.ok()) {
    graph_.decide(node, *holds);
  } else {
    graph_.fail(node, holds.status());
  }
  return true;
}

}  // namespace headgate::engine
