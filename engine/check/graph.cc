#include "engine/check/graph.h"

#include <algorithm>
#include <tuple>

#include "base/guard.h"

namespace headgate::engine {

Graph::Id Graph::add(Op op) {
  nodes_.push_back({.op = op, .operands = {}, .users = {}});
  return static_cast<Id>(nodes_.size() - 1);
}

void Graph::add_operand(Id node, Id operand) {
  nodes_[node].operands.push_back(operand);
  nodes_[operand].users.push_back(node);
  if (nodes_[operand].value != Value::kOpen) heed(node, operand);
}

void Graph::complete(Id node) {
  nodes_[node].complete = true;
  settle(node);
}

void Graph::decide(Id node, bool allowed) { set(node, allowed ? Value::kAllowed : Value::kDenied); }

void Graph::fail(Id node, Status why) {
  if (!guarded(Guard::kCheckFailures)) return decide(node, false);
  nodes_[node].error = static_cast<uint32_t>(errors_.size());
  errors_.push_back(std::move(why));
}

void Graph::set(Id node, Value value) {
  if (nodes_[node].value != Value::kOpen) return;
  nodes_[node].value = value;
  changed_.push_back(node);
  if (changed_.size() > 1) return;  // somebody below is at it
  for (size_t at = 0; at < changed_.size(); ++at) {
    const Id decided = changed_[at];
    // What is decided meanwhile is appended, and nobody gets new users.
    for (const Id user : nodes_[decided].users) {
      if (nodes_[user].value == Value::kOpen) heed(user, decided);
    }
  }
  changed_.clear();
}

void Graph::heed(Id node, Id operand) {
  Node& user = nodes_[node];
  if (user.op == Op::kExcept) return settle(node);
  const Value deciding = user.op == Op::kAny ? Value::kAllowed : Value::kDenied;
  if (nodes_[operand].value == deciding) return set(node, deciding);
  ++user.settled;
  settle(node);
}

void Graph::settle(Id id) {
  Node& node = nodes_[id];
  if (node.value != Value::kOpen || node.error != kNone) return;
  if (node.op != Op::kExcept) {
    if (!node.complete || node.settled < node.operands.size()) return;
    return set(id, node.op == Op::kAny ? Value::kDenied : Value::kAllowed);
  }
  if (!node.complete) return;
  const Value with = nodes_[node.operands[0]].value;
  const Value without = guarded(Guard::kCheckExclusion) ? nodes_[node.operands[1]].value : Value::kDenied;
  if (with == Value::kDenied || without == Value::kAllowed) return set(id, Value::kDenied);
  if (with == Value::kAllowed && without == Value::kDenied) set(id, Value::kAllowed);
}

namespace {

Graph::Value opposite(Graph::Value value) {
  if (value == Graph::Value::kFailed) return value;
  return value == Graph::Value::kAllowed ? Graph::Value::kDenied : Graph::Value::kAllowed;
}

}  // namespace

Graph::Value Graph::value_in(const Node& node, const Values& values, const Values& excluded) const {
  if (node.op == Op::kExcept) return std::min(values[node.operands[0]], opposite(excluded[node.operands[1]]));
  Value value = node.op == Op::kAny ? Value::kDenied : Value::kAllowed;
  for (const Id operand : node.operands) {
    value = node.op == Op::kAny ? std::max(value, values[operand]) : std::min(value, values[operand]);
  }
  return value;
}

Graph::Values Graph::least(const Values& excluded) const {
  Values values(nodes_.size(), Value::kDenied);
  std::vector<Id> risen;
  for (Id id = 0; id < nodes_.size(); ++id) {
    const Node& node = nodes_[id];
    if (node.value != Value::kOpen) values[id] = node.value;
    if (node.value == Value::kOpen && node.error != kNone) values[id] = Value::kFailed;
    if (values[id] != Value::kDenied) risen.push_back(id);
  }
  const auto rise = [&](Id id, Value to) {
    if (nodes_[id].value != Value::kOpen || nodes_[id].error != kNone || to <= values[id]) return;
    values[id] = to;
    risen.push_back(id);
  };
  // These can have a value without any operand that rises.
  for (Id id = 0; id < nodes_.size(); ++id) {
    if (nodes_[id].op == Op::kAll && nodes_[id].operands.empty()) rise(id, Value::kAllowed);
  }
  for (size_t at = 0; at < risen.size(); ++at) {
    const Value value = values[risen[at]];
    for (const Id user : nodes_[risen[at]].users) {
      const Node& node = nodes_[user];
      rise(user, node.op == Op::kAny ? std::max(values[user], value) : value_in(node, values, excluded));
    }
  }
  return values;
}

uint32_t Graph::lesser(uint32_t left, uint32_t right) const {
  if (left == kNone || right == kNone) return std::min(left, right);
  const auto key = [&](uint32_t error) { return std::make_tuple(errors_[error].code(), message_of(errors_[error])); };
  return key(right) < key(left) ? right : left;
}

// What fails has failed for the first of the reasons below it, in the order of their texts.
void Graph::spread_errors(const Values& values, uint32_t undefined) {
  std::vector<Id> changed;
  for (Id id = 0; id < nodes_.size(); ++id) {
    if (values[id] != Value::kFailed) continue;
    if (nodes_[id].error != kNone) changed.push_back(id);
  }
  for (size_t at = 0; at < changed.size(); ++at) {
    for (const Id user : nodes_[changed[at]].users) {
      if (values[user] != Value::kFailed) continue;
      const uint32_t better = lesser(nodes_[user].error, nodes_[changed[at]].error);
      if (better == nodes_[user].error) continue;
      nodes_[user].error = better;
      changed.push_back(user);
    }
  }
  for (Id id = 0; id < nodes_.size(); ++id) {
    if (values[id] == Value::kFailed && nodes_[id].error == kNone) nodes_[id].error = undefined;
  }
}

Status Graph::finish(const Status& incomplete, const std::function<Status()>& wanted) {
  const auto undefined = static_cast<uint32_t>(errors_.size());
  errors_.push_back(incomplete);
  for (Node& node : nodes_) {
    if (node.value == Value::kOpen && !node.complete && node.error == kNone) node.error = undefined;
  }
  Values most(nodes_.size(), Value::kAllowed);
  Values fewest = least(most);
  while (guarded(Guard::kCheckCircles)) {
    HG_RETURN_IF_ERROR(wanted ? wanted() : ok_status());
    most = least(fewest);
    Values next = least(most);
    if (next == fewest) break;
    fewest = std::move(next);
  }
  for (Id id = 0; id < nodes_.size(); ++id) {
    if (fewest[id] == most[id] || !guarded(Guard::kCheckCircles)) continue;
    fewest[id] = Value::kFailed;
    if (nodes_[id].error == kNone) nodes_[id].error = undefined;
  }
  spread_errors(fewest, undefined);
  for (Id id = 0; id < nodes_.size(); ++id) nodes_[id].value = fewest[id];
  return ok_status();
}

}  // namespace headgate::engine
