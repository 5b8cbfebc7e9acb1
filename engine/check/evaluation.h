// Decides questions at one state, breadth first: all that is open is asked for in one round trip, what that decides is
// decided, and so on until the questions are. A sub-problem is one node of a graph, however often it is met and for
// however many questions, so circles end and nothing is asked twice.
//
// Depth counts as in Permify: a question has depth 0; a relation, permission, attribute or rule that an expression
// names, and the relation of a subject, are one deeper than what names them. What only lies deeper than `depth_max` has
// failed with DEPTH_NOT_ENOUGH. A sub-problem that is met more than once has the least of its depths.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/check/dispatcher.h"
#include "engine/check/facts.h"
#include "engine/check/graph.h"
#include "engine/check/scope.h"

namespace headgate::engine {

struct Question {
  base::v1::Entity entity;
  std::string name;
  base::v1::Subject subject;
};

struct Verdict {
  bool allowed = false;
  Status error;   // not OK: it could not be decided
  int count = 0;  // sub-problems it came down to
};

struct DepthRule {
  int64_t depth_max = 0;
  // Sets of subjects that are of the kind that is asked for are looked at but not into: group:a#member is not allowed
  // because it is within group:b#member. What LookupSubject means.
  bool listed_only = false;
};

class Evaluation {
 public:
  Evaluation(const Scope& scope, Facts& facts, DepthRule rule);

  // One verdict for each question. An error when the whole request cannot be answered: the database, the limits, the
  // caller who does not wait any more. To be called once.
  StatusOr<std::vector<Verdict>> decide(const std::vector<Question>& questions);

 private:
  using Id = Graph::Id;
  // What a node needs from the database before it has its operands.
  struct Need {
    enum class Kind : uint8_t { kNone, kRelation, kArrow, kAttribute, kCall };
    Kind kind = Kind::kNone;
    Id goal = 0;
    std::string relation;  // kArrow: whose subjects
    std::string computed;  // kArrow
  };
  // A sub-problem. Its node is the one of the same number in `node`.
  struct Goal {
    SubProblem problem;
    Id node = 0;
    int64_t depth = 0;
    bool expanded = false;
    const base::v1::EntityDefinition* entity = nullptr;
    const base::v1::Call* call = nullptr;  // of a rule
    std::vector<Id> below;                 // goals
  };

  Id goal_of(const base::v1::Entity& entity, const std::string& name, const base::v1::Subject* subject,
             const base::v1::Call* call, int64_t depth);
  Id below(Id goal, const base::v1::Entity& entity, const std::string& name, const base::v1::Call* call = nullptr);
  void reach(Id goal, int64_t depth);

  // Without the database. Goals that are opened are expanded, too.
  Status expand_opened();
  Status ask_dispatcher(std::vector<Id>& opened);
  void expand(Id goal);
  void expand_name(Id goal);
  void expand_rule(Id goal);
  Id build(Id goal, const base::v1::Child& child);
  Id build_leaf(Id goal, const base::v1::Leaf& leaf);
  Id add_node(Graph::Op op);
  void fail(Id goal, const Status& why) { graph_.fail(goals_[goal].node, why); }

  // The needs that the open questions rest on.
  std::vector<Id> needed() const;
  // False when something is not known yet; it was asked for then.
  bool meet(Id node);
  bool meet_relation(Id node, const Need& need);
  bool meet_arrow(Id node, const Need& need);
  bool meet_attribute(Id node, const Need& need);
  bool meet_call(Id node, const Need& need);
  Status check_limits() const;
  bool decided() const;
  int count_of(Id goal) const;
  StatusOr<std::vector<Verdict>> verdicts();

  const Scope& scope_;
  Facts& facts_;
  const DepthRule rule_;
  Graph graph_;
  std::vector<Need> needs_;  // by node
  std::deque<Goal> goals_;   // so that sub-problems stay where they are
  std::deque<base::v1::Subject> subjects_;
  std::unordered_map<std::string, const base::v1::Subject*> subject_by_text_;
  std::unordered_map<std::string, Id> goal_by_text_;
  std::vector<Id> opened_;
  std::vector<Id> roots_;
};

}  // namespace headgate::engine
