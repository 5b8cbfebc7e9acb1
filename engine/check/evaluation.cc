#include "engine/check/evaluation.h"

#include "base/guard.h"
#include "engine/model/errors.h"

namespace headgate::engine {

namespace {

using base::v1::Subject;

bool is_same(const Subject& subject, const base::v1::Entity& entity, const std::string& name) {
  return subject.type() == entity.type() && subject.id() == entity.id() && subject.relation() == name;
}

}  // namespace

Evaluation::Evaluation(const Scope& scope, Facts& facts, DepthRule rule) : scope_(scope), facts_(facts), rule_(rule) {}

StatusOr<std::vector<Verdict>> Evaluation::decide(const std::vector<Question>& questions) {
  for (const Question& question : questions) {
    const auto [found, fresh] = subject_by_text_.try_emplace(
        joined({question.subject.type(), question.subject.id(), question.subject.relation()}));
    if (fresh) found->second = &subjects_.emplace_back(question.subject);
    roots_.push_back(goal_of(question.entity, question.name, found->second, nullptr, 0));
  }
  for (;;) {
    HG_RETURN_IF_ERROR(expand_opened());
    if (decided()) break;
    std::vector<Id> unmet;
    for (const Id node : needed()) {
      if (!meet(node)) unmet.push_back(node);
    }
    if (!opened_.empty()) continue;  // something was known already
    if (decided() || !facts_.missed()) break;
    HG_RETURN_IF_ERROR(check_limits());
    HG_RETURN_IF_ERROR(facts_.fetch());
    for (const Id node : unmet) {
      if (graph_.open(node)) meet(node);
    }
  }
  return verdicts();
}

Evaluation::Id Evaluation::add_node(Graph::Op op) {
  needs_.emplace_back();
  return graph_.add(op);
}

Evaluation::Id Evaluation::goal_of(const base::v1::Entity& entity, const std::string& name, const Subject* subject,
                                   const base::v1::Call* call, int64_t depth) {
  // Equal subjects are one object, so its address tells it from others.
  const std::string subject_key = guarded(Guard::kCheckSubjects)
                                      ? std::string(reinterpret_cast<const char*>(&subject), sizeof(subject))
                                      : std::string();
  const auto [found, fresh] =
      goal_by_text_.try_emplace(joined({entity.type(), entity.id(), name}) + subject_key, goals_.size());
  if (!fresh) {
    reach(found->second, depth);
    return found->second;
  }
  const Id node = add_node(Graph::Op::kAny);
  goals_.push_back({{entity, name, subject}, node, depth, false, nullptr, call, {}});
  if (depth <= rule_.depth_max) opened_.push_back(found->second);
  return found->second;
}

// The node of a goal that the expression or the rows of another one name.
Evaluation::Id Evaluation::below(Id goal, const base::v1::Entity& entity, const std::string& name,
                                 const base::v1::Call* call) {
  const Id found = goal_of(entity, name, goals_[goal].problem.subject, call, goals_[goal].depth + 1);
  goals_[goal].below.push_back(found);
  return goals_[found].node;
}

void Evaluation::reach(Id goal, int64_t depth) {
  std::vector<std::pair<Id, int64_t>> reached{{goal, depth}};
  while (!reached.empty()) {
    const auto [at, less] = reached.back();
    reached.pop_back();
    Goal& one = goals_[at];
    if (less >= one.depth) continue;
    if (one.depth > rule_.depth_max && less <= rule_.depth_max) opened_.push_back(at);
    one.depth = less;
    for (const Id next : one.below) reached.emplace_back(next, less + 1);
  }
}

Status Evaluation::expand_opened() {
  while (!opened_.empty()) {
    std::vector<Id> opened;
    opened.swap(opened_);
    HG_RETURN_IF_ERROR(ask_dispatcher(opened));
    for (const Id goal : opened) {
      if (goals_[goal].expanded || !graph_.open(goals_[goal].node)) continue;
      goals_[goal].expanded = true;
      expand(goal);
    }
    HG_RETURN_IF_ERROR(check_limits());
  }
  return ok_status();
}

// Those that are answered leave `opened`.
Status Evaluation::ask_dispatcher(std::vector<Id>& opened) {
  if (scope_.dispatcher == nullptr) return ok_status();
  std::vector<SubProblem> problems;
  for (const Id goal : opened) problems.push_back(goals_[goal].problem);
  std::vector<Dispatcher::Answer> answers(opened.size(), Dispatcher::Answer::kHere);
  HG_RETURN_IF_ERROR(scope_.dispatcher->dispatch(scope_, problems, answers));
  for (size_t i = 0; i < opened.size(); ++i) {
    if (answers[i] == Dispatcher::Answer::kHere) continue;
    graph_.decide(goals_[opened[i]].node, answers[i] == Dispatcher::Answer::kAllowed);
  }
  return ok_status();
}

void Evaluation::expand(Id id) {
  Goal& goal = goals_[id];
  const auto& definitions = scope_.schema->entity_definitions();
  const auto found = definitions.find(goal.problem.entity.type());
  if (found == definitions.end()) return fail(id, api_error(base::v1::ERROR_CODE_SCHEMA_NOT_FOUND));
  goal.entity = &found->second;
  if (is_same(*goal.problem.subject, goal.problem.entity, goal.problem.name) && !rule_.listed_only) {
    return graph_.decide(goal.node, true);
  }
  if (goal.call != nullptr) return expand_rule(id);
  expand_name(id);
}

void Evaluation::expand_name(Id id) {
  Goal& goal = goals_[id];
  const std::string& name = goal.problem.name;
  const auto reference = goal.entity->references().find(name);
  if (reference == goal.entity->references().end()) return expand_rule(id);
  using Definition = base::v1::EntityDefinition;
  switch (reference->second) {
    case Definition::REFERENCE_PERMISSION: {
      graph_.add_operand(goal.node, build(id, goal.entity->permissions().at(name).child()));
      return graph_.complete(goal.node);
    }
    case Definition::REFERENCE_RELATION: needs_[goal.node] = {Need::Kind::kRelation, id, "", ""}; return;
    case Definition::REFERENCE_ATTRIBUTE:
      if (goal.entity->attributes().at(name).type() != base::v1::ATTRIBUTE_TYPE_BOOLEAN) {
        return fail(id, api_error(base::v1::ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH,
                                  fmt::format("{} of {} is no boolean", name, goal.entity->name())));
      }
      needs_[goal.node] = {Need::Kind::kAttribute, id, "", ""};
      return;
    default: return fail(id, api_error(base::v1::ERROR_CODE_SCHEMA_NOT_FOUND));
  }
}

// A call, or a name that is neither relation nor permission nor attribute: it may be that of a rule.
void Evaluation::expand_rule(Id id) {
  const Goal& goal = goals_[id];
  const std::string& rule = goal.call != nullptr ? goal.call->rule_name() : goal.problem.name;
  if (scope_.schema->rule_definitions().contains(rule)) {
    needs_[goal.node] = {Need::Kind::kCall, id, "", ""};
    return;
  }
  const bool is_entity = scope_.schema->entity_definitions().contains(rule);
  fail(id,
       api_error(is_entity ? base::v1::ERROR_CODE_RULE_DEFINITION_NOT_FOUND : base::v1::ERROR_CODE_SCHEMA_NOT_FOUND));
}

Evaluation::Id Evaluation::build(Id goal, const base::v1::Child& child) {
  if (child.has_leaf()) return build_leaf(goal, child.leaf());
  const base::v1::Rewrite& rewrite = child.rewrite();
  using Rewrite = base::v1::Rewrite;
  if (rewrite.rewrite_operation() == Rewrite::OPERATION_EXCLUSION && rewrite.children_size() > 1) {
    // The first, but none of the others.
    const Id node = add_node(Graph::Op::kExcept), others = add_node(Graph::Op::kAny);
    for (int i = 1; i < rewrite.children_size(); ++i) graph_.add_operand(others, build(goal, rewrite.children(i)));
    graph_.complete(others);
    graph_.add_operand(node, build(goal, rewrite.children(0)));
    graph_.add_operand(node, others);
    graph_.complete(node);
    return node;
  }
  const bool all = rewrite.rewrite_operation() == Rewrite::OPERATION_INTERSECTION;
  const Id node = add_node(all ? Graph::Op::kAll : Graph::Op::kAny);
  for (const base::v1::Child& one : rewrite.children()) graph_.add_operand(node, build(goal, one));
  graph_.complete(node);
  return node;
}

Evaluation::Id Evaluation::build_leaf(Id goal, const base::v1::Leaf& leaf) {
  const base::v1::Entity entity = goals_[goal].problem.entity;
  if (leaf.has_computed_user_set()) return below(goal, entity, leaf.computed_user_set().relation());
  if (leaf.has_computed_attribute()) return below(goal, entity, leaf.computed_attribute().name());
  if (leaf.has_call()) {
    // No name of the schema has a bracket.
    std::vector<std::string_view> names;
    for (const base::v1::Argument& one : leaf.call().arguments()) names.push_back(one.computed_attribute().name());
    const std::string name = fmt::format("{}({})", leaf.call().rule_name(), fmt::join(names, ","));
    return below(goal, entity, name, &leaf.call());
  }
  const Id node = add_node(Graph::Op::kAny);
  needs_[node] = {Need::Kind::kArrow, goal, leaf.tuple_to_user_set().tupleset().relation(),
                  leaf.tuple_to_user_set().computed().relation()};
  return node;
}

std::vector<Evaluation::Id> Evaluation::needed() const {
  std::vector<Id> found;
  std::vector<bool> seen(graph_.size());
  std::vector<Id> stack;
  const auto visit = [&](Id node) {
    if (seen[node] || !graph_.open(node)) return;
    seen[node] = true;
    stack.push_back(node);
  };
  for (const Id root : roots_) visit(goals_[root].node);
  while (!stack.empty()) {
    const Id node = stack.back();
    stack.pop_back();
    if (needs_[node].kind != Need::Kind::kNone && !graph_.failed(node)) found.push_back(node);
    for (const Id operand : graph_.operands(node)) visit(operand);
  }
  return found;
}

Status Evaluation::check_limits() const {
  HG_RETURN_IF_ERROR(scope_.still_wanted());
  if (graph_.size() > scope_.limits.nodes_max) {
    return status_of(StatusCode::kResourceExhausted, "the answer rests on more than {} sub-problems",
                     scope_.limits.nodes_max);
  }
  return ok_status();
}

bool Evaluation::decided() const {
  return std::ranges::none_of(roots_, [&](Id root) { return graph_.open(goals_[root].node); });
}

int Evaluation::count_of(Id root) const {
  std::vector<bool> seen(goals_.size());
  std::vector<Id> stack{root};
  seen[root] = true;
  int count = 0;
  while (!stack.empty()) {
    const Goal& goal = goals_[stack.back()];
    stack.pop_back();
    count += goal.expanded ? 1 : 0;
    for (const Id next : goal.below) {
      if (!seen[next]) stack.push_back(next);
      seen[next] = true;
    }
  }
  return count;
}

StatusOr<std::vector<Verdict>> Evaluation::verdicts() {
  if (!decided()) {
    const Status too_deep = api_error(base::v1::ERROR_CODE_DEPTH_NOT_ENOUGH);
    HG_RETURN_IF_ERROR(graph_.finish(too_deep, [this] { return scope_.still_wanted(); }));
  }
  std::vector<Verdict> verdicts;
  for (const Id root : roots_) {
    Verdict& verdict = verdicts.emplace_back();
    const Id node = goals_[root].node;
    verdict.allowed = graph_.value(node) == Graph::Value::kAllowed;
    if (graph_.value(node) == Graph::Value::kFailed) verdict.error = graph_.error(node);
    verdict.count = count_of(root);
  }
  return verdicts;
}

}  // namespace headgate::engine
