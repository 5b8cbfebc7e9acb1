// The tree of a permission: who has it, and by what.
//
// A relation, permission or set that comes again below itself is a leaf without subjects there. Each level of the tree
// costs one round trip.
#pragma once

#include <deque>
#include <string>

#include "engine/check/facts.h"

namespace headgate::engine {

class Expansion {
 public:
  Expansion(const Scope& scope, Facts& facts) : scope_(scope), facts_(facts) {}

  // RESOURCE_EXHAUSTED when the tree has too many nodes, DEPTH_NOT_ENOUGH when it is deeper than a message may be. To
  // be called once.
  StatusOr<base::v1::Expand> run(const base::v1::Entity& entity, const std::string& name);

 private:
  // What is to be put in at a node, and the one above it on the way to the root.
  struct Task {
    enum class Kind : uint8_t { kRelation, kArrow, kAttribute, kCall };
    Kind kind = Kind::kRelation;
    base::v1::Expand* node = nullptr;
    size_t step = 0;
    std::string name;      // relation, or the relation that an arrow follows, or the attribute
    std::string computed;  // kArrow
    const Arguments* arguments = nullptr;
    int depth = 0;  // of the node in the tree
  };
  struct Step {
    base::v1::Entity entity;
    std::string name;
    size_t above = 0;
  };

  Status expand(base::v1::Expand* node, int depth, size_t above, const base::v1::Entity& entity,
                const std::string& name);
  Status build(base::v1::Expand* node, int depth, size_t step, const base::v1::Child& child);
  Status build_leaf(base::v1::Expand* node, int depth, size_t step, const base::v1::Leaf& leaf);
  void head(base::v1::Expand* node, size_t step, const std::string& name) const;
  bool comes_again(size_t above, const base::v1::Entity& entity, const std::string& name) const;
  base::v1::Expand* add_child(base::v1::Expand* node);
  Status open_call(base::v1::Expand* node, size_t step, const std::string& rule, const Arguments& arguments);
  const base::v1::EntityDefinition& definition(size_t step) const;

  // False when something is not known yet.
  StatusOr<bool> meet(const Task& task);
  StatusOr<bool> meet_relation(const Task& task);
  StatusOr<bool> meet_arrow(const Task& task);
  StatusOr<bool> meet_attribute(const Task& task);
  StatusOr<bool> meet_call(const Task& task);
  Status check_limits() const;

  const Scope& scope_;
  Facts& facts_;
  std::deque<Step> steps_;
  std::vector<Task> tasks_;
  size_t nodes_ = 0;
};

}  // namespace headgate::engine
