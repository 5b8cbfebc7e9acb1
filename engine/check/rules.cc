#include "engine/check/rules.h"

#include <unordered_map>

#include "base/mutex.h"
#include "engine/cel/rule.h"
#include "engine/check/facts.h"

namespace headgate::engine {

namespace {

// Of memory. A rule of a line takes some kilobytes, one with a pattern 64 more.
constexpr size_t kKeptBytes = 64 << 20;

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
    const std::string key = joined({call.version, call.rule->name()});
    {
      MutexLock lock(mutex_);
      if (const auto found = rules_.find(key); found != rules_.end()) return found->second;
    }
    HG_ASSIGN_OR_RETURN(std::shared_ptr<const cel::Rule> made, cel::Rule::make(*call.rule));
    MutexLock lock(mutex_);
    if (bytes_ + made->bytes() > kKeptBytes) {
      rules_.clear();
      bytes_ = 0;
    }
    if (rules_.emplace(key, made).second) bytes_ += key.size() + made->bytes();
    return made;
  }

  mutable Mutex mutex_;
  mutable std::unordered_map<std::string, std::shared_ptr<const cel::Rule>> rules_ GUARDED_BY(mutex_);
  mutable size_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace

std::unique_ptr<RuleEvaluator> make_rule_evaluator() { return std::make_unique<CelRules>(); }

}  // namespace headgate::engine
