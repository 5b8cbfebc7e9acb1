// What a check has found out so far: sub-problems as nodes of a graph of "any of", "all of" and "but not".
//
// Nodes are decided as soon as their operands allow it, and stay so. What is left when nothing more is to be found out
// rests on failures or on itself, in a circle; finish() gives it a value, the same whatever the order in which nodes
// and operands came: the well-founded model over denied < failed < allowed, where "any of" is the greatest operand and
// "all of" the least (Kleene's strong logic; alternating fixpoint of Van Gelder, 1989). So an operand that decides
// beats one that fails, a circle without a reason of its own denies, and one that denies itself fails. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"

namespace headgate::engine {

class Graph {
 public:
  using Id = uint32_t;
  enum class Op : uint8_t { kAny, kAll, kExcept };  // kExcept: the first operand, but not the second
  enum class Value : uint8_t { kOpen, kDenied, kFailed, kAllowed };

  // Open until it is decided or completed.
  Id add(Op op);
  void add_operand(Id node, Id operand);
  // It has all its operands. An "any of" without operands is denied.
  void complete(Id node);
  void decide(Id node, bool allowed);
  // It cannot be known. Counts in finish() only, because a sibling may make it irrelevant.
  void fail(Id node, Status why);

  bool open(Id node) const { return nodes_[node].value == Value::kOpen; }
  bool failed(Id node) const { return nodes_[node].error != kNone; }
  const std::vector<Id>& operands(Id node) const { return nodes_[node].operands; }
  size_t size() const { return nodes_.size(); }

  // Decides everything. What is not complete has failed with `incomplete`, as has what denies itself. Circles made for
  // it take the square of their number of nodes, so `wanted` is asked now and then, and what it says ends the work.
  Status finish(const Status& incomplete, const std::function<Status()>& wanted = {});
  Value value(Id node) const { return nodes_[node].value; }
  // REQUIRES: its value is kFailed.
  const Status& error(Id node) const { return errors_[nodes_[node].error]; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Node {
    Op op = Op::kAny;
    Value value = Value::kOpen;
    bool complete = false;
    uint32_t settled = 0;  // operands that are decided the way that does not decide this node
    uint32_t error = kNone;
    std::vector<Id> operands;
    std::vector<Id> users;
  };
  using Values = std::vector<Value>;

  void set(Id node, Value value);
  // `operand` was decided.
  void heed(Id node, Id operand);
  void settle(Id node);
  // The least values that agree with the operands, when those behind "but not" have the values of `excluded`.
  Values least(const Values& excluded) const;
  Value value_in(const Node& node, const Values& values, const Values& excluded) const;
  void spread_errors(const Values& values, uint32_t undefined);
  uint32_t lesser(uint32_t left, uint32_t right) const;

  std::vector<Node> nodes_;
  std::vector<Status> errors_;
  std::vector<Id> changed_;
};

}  // namespace headgate::engine
