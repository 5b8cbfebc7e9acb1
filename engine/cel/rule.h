// A rule of a schema, ready to be asked: its expression, its parameters, and where request data stands in it.
//
// Immutable, for any number of threads. Made once for each rule of a schema version; asking one allocates only what its
// expression makes.
#pragma once

#include <google/protobuf/any.pb.h>

#include "base/v1/base.pb.h"
#include "engine/cel/program.h"

namespace headgate::engine::cel {

class Rule {
 public:
  // REQUIRES: `definition` as compile_schema or read_schema gives it. RESOURCE_EXHAUSTED when its expression has too
  // many parts inside each other. Nothing of `definition` is kept.
  static StatusOr<std::shared_ptr<const Rule>> make(const base::v1::RuleDefinition& definition);

  // The value of a parameter for one call. Without a value it is the zero value of the parameter's type, as for an
  // entity that has no such attribute.
  struct Argument {
    std::string_view parameter;
    const google::protobuf::Any* value = nullptr;  // of base.v1: IntegerValue, StringArrayValue, ...
  };

  // Whether the rule holds. A parameter without an argument is an error when it is reached ("no such attribute(s)"),
  // an argument without a parameter is ignored. `data` is `context.data`; null is an empty map.
  // INTERNAL "failed to evaluate expression: ..." with CEL's words, RESOURCE_EXHAUSTED when it takes too many steps or
  // too much memory, DEADLINE_EXCEEDED. The same input gives the same answer every time. Does not block.
  StatusOr<bool> holds(std::span<const Argument> arguments, const google::protobuf::Struct* data,
                       const Limits& limits = {}) const;

  // Of memory, about. For who keeps rules: one of 100,000 characters, or with many patterns, takes some MiB.
  size_t bytes() const { return sizeof(Rule) + program_->bytes(); }

 private:
  Rule() = default;

  std::vector<base::v1::AttributeType> types_;  // of the parameters; `context` stands behind them
  std::shared_ptr<const Program> program_;
};

}  // namespace headgate::engine::cel
