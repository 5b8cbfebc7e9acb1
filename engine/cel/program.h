// A compiled expression: what `compile` made of a text, turned into a tree that is fast to walk.
//
// Immutable, for any number of threads. Made once for each rule of a schema version.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cel/compile.h"
#include "engine/cel/heap.h"
#include "engine/cel/value.h"

namespace headgate::engine::cel {

struct Step;

class Program {
 public:
  ~Program();

  // `variables` are the names that `expr` was checked with; other names are errors when they are reached. Nothing of
  // `expr` is kept. RESOURCE_EXHAUSTED when parts stand too deep inside each other.
  static StatusOr<std::shared_ptr<const Program>> make(const google::api::expr::v1alpha1::Expr& expr,
                                                       const std::vector<std::string>& variables);

  // The place of a variable among the values given to run(); nothing when there is no such variable.
  std::optional<size_t> place_of(std::string_view variable) const;
  size_t variable_count() const { return variables_.size(); }
  // Of memory, with what its patterns may take while they are matched. For who keeps programs.
  size_t bytes() const;

  // The value of the expression; one of kind kError when it fails. `values` stand in the order of the variables;
  // kUnbound ones are errors when they are reached. Does not block. The result may refer to the heap, the program and
  // whatever the values refer to.
  Value run(std::span<const Value> values, Heap& heap) const;

 private:
  friend class Builder;
  struct Parts;
  Program();

  std::vector<std::string> variables_;
  std::unique_ptr<Parts> parts_;
  const Step* root_ = nullptr;
  size_t slots_ = 0;
};

}  // namespace headgate::engine::cel
