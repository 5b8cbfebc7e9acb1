#include "engine/check/rules.h"

#include <unordered_map>

#include "base/mutex.h"
#include "engine/cel/rule.h"

namespace headgate::engine {

namespace {

constexpr size_t kRulesKept = 10'000;

class CelRules : public RuleEvaluator {
 public:
  StatusOr<bool> holds(const RuleCall& call) const override {
    HG_ASSIGN_OR_RETURN(const std::shared_ptr<const cel::Rule> rule, rule_of(call));
    std::vector<cel::Rule::Argument> arguments;
    for (const auto& [name, value] : call.arguments) arguments.push_back({name, &value});
    return rule->holds(arguments, call.data, {.deadline = call.deadline});
  }

 private:
  StatusOr<std::shared_ptr<const cel::Rule>> rule_of(const RuleCall& call) const {
    const std::string key = call.version + call.rule->name();
    {
      MutexLock lock(mutex_);
      if (const auto found = rules_.find(key); found != rules_.end()) return found->second;
    }
    HG_ASSIGN_OR_RETURN(std::shared_ptr<const cel::Rule> made, cel::Rule::make(*call.rule));
    MutexLock lock(mutex_);
    if (rules_.size() >= kRulesKept) rules_.clear();
    rules_[key] = made;
    return made;
  }

  mutable Mutex mutex_;
  mutable std::unordered_map<std::string, std::shared_ptr<const cel::Rule>> rules_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<RuleEvaluator> make_rule_evaluator() { return std::make_unique<CelRules>(); }

}  // namespace headgate::engine
