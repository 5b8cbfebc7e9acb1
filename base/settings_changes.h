// What SIGHUP finds changed: which settings a running program takes over, and which need a new start. No change is
// silent: each is one of the two, by its name.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/settings.h"

namespace headgate {

// Keys as in the reference, "a.b"; the number of an element of a list is `*`, as in "sinks.*.password".
struct ReloadRules {
  std::set<std::string> keys;   // of settings that can be taken over
  std::set<std::string> files;  // of them, those whose value is a path: a file with another content counts as changed
  // Of an element of a list, what tells it apart. Where one of these has changed nothing of the element is taken over,
  // and it is named as a whole: "sinks.0".
  std::set<std::string> identity;
  // A last word on a text that could be taken over; may be null.
  std::function<bool(const std::string& path, const std::string& before, const std::string& after)> allows;
};

// Paths with the numbers of elements, "sinks.0.password", in order.
struct SettingsChanges {
  std::vector<std::string> taken;
  std::vector<std::string> restart;
};

// The settings that a program runs with. Not thread-safe. Holds secrets, and tells none.
class SettingsInForce {
 public:
  struct Value {
    std::string text;  // of one value
    std::vector<std::string> list;
    std::map<std::string, std::string> map;
    std::string content;  // stands for that of the files that are named
    bool operator==(const Value&) const = default;
  };
  using Values = std::map<std::string, Value>;

  SettingsInForce(ReloadRules rules, const DescribeSettings& in_force);
  // Writes what can be taken over from the fresh settings into those that `in_force` describes, and remembers it, so
  // that what needs a new start is told again by the next call.
  SettingsChanges take_over(const DescribeSettings& in_force, const DescribeSettings& fresh);

 private:
  const ReloadRules rules_;
  Values values_;
};

}  // namespace headgate
