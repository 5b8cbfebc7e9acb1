#include "engine/check/rules.h"

#include "engine/model/errors.h"

namespace headgate::engine {

namespace {

class NoRules : public RuleEvaluator {
 public:
  StatusOr<bool> holds(const RuleCall&) const override {
    return api_error(base::v1::ERROR_CODE_NOT_IMPLEMENTED, "rules are not evaluated yet");
  }
};

}  // namespace

std::unique_ptr<RuleEvaluator> make_rule_evaluator() { return std::make_unique<NoRules>(); }

}  // namespace headgate::engine
