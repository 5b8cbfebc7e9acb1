// Rules of a schema, as a check asks them.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "base/v1/base.pb.h"

namespace headgate::engine {

struct RuleCall {
  std::string version;  // names the schema version of the rule among all tenants'; what is made of it is kept by it
  const base::v1::RuleDefinition* rule = nullptr;
  std::map<std::string, google::protobuf::Any> arguments;  // by parameter, values of base.v1 of its type
  const google::protobuf::Struct* data = nullptr;          // context.data; null: empty
  MonotonicTime deadline = MonotonicTime::max();
};

class RuleEvaluator {
 public:
  virtual ~RuleEvaluator() = default;
  // Whether it holds. INTERNAL "failed to evaluate expression: ..." when that cannot be said. Thread-safe, does not
  // block.
  virtual StatusOr<bool> holds(const RuleCall& call) const = 0;
};

// By engine/cel.
std::unique_ptr<RuleEvaluator> make_rule_evaluator();

}  // namespace headgate::engine
