#include "base/settings_changes.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/settings_walk.h"

namespace headgate {
namespace {

using Value = SettingsInForce::Value;
using Values = SettingsInForce::Values;

// "sinks.0.password" -> "sinks.*.password".
std::string rule_of(const std::string& path) {
  std::string rule;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string word = path.substr(begin, end - begin);
    const bool number =
        !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (begin > 0) rule += '.';
    rule += number ? "*" : word;
    begin = end + 1;
  }
  return rule;
}

// "sinks.0.password" -> "sinks.0"; empty for what is in no list.
std::string element_of(const std::string& path) {
  const std::string rule = rule_of(path);
  const size_t star = rule.find(".*");
  return star == std::string::npos ? "" : path.substr(0, std::min(path.find('.', star + 1), path.size()));
}

std::string content_of(const std::string& path) {
  if (path.empty()) return "";
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return fmt::format("{:x}", std::hash<std::string>()(text));
}

class Walk : public SettingsWalk {
 protected:
  std::string path_of(std::string_view key) const {
    return words().empty() ? std::string(key) : fmt::format("{}.{}", fmt::join(words(), "."), key);
  }
};

class Reader : public Walk {
 public:
  explicit Reader(const ReloadRules& rules) : rules_(rules) {}
  Values take() { return std::move(values_); }

  void list(std::string_view key, std::vector<std::string>& value, std::string_view) override { at(key).list = value; }
  void secret_list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    at(key).list = value;
  }
  void map(std::string_view key, std::map<std::string, std::string>& value, std::string_view) override {
    Value& kept = at(key);
    kept.map = value;
    if (!names_files(key)) return;
    // Options of libraries; librdkafka ends the names of those that are paths so.
    for (const auto& [name, text] : value) {
      if (name.ends_with(".location")) kept.content += content_of(text) + " ";
    }
  }

 protected:
  void field(const SettingsField& field) override {
    Value& kept = at(field.key);
    kept.text = field.get();
    if (names_files(field.key)) kept.content = content_of(kept.text);
  }

 private:
  Value& at(std::string_view key) { return values_[path_of(key)]; }
  bool names_files(std::string_view key) const { return rules_.files.count(rule_of(path_of(key))) != 0; }

  const ReloadRules& rules_;
  Values values_;
};

class Writer : public Walk {
 public:
  explicit Writer(const Values& values) : values_(values) {}

  void list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    if (const Value* fresh = find(key)) value = fresh->list;
  }
  void secret_list(std::string_view key, std::vector<std::string>& value, std::string_view help) override {
    list(key, value, help);
  }
  void map(std::string_view key, std::map<std::string, std::string>& value, std::string_view) override {
    if (const Value* fresh = find(key)) value = fresh->map;
  }

 protected:
  void field(const SettingsField& field) override {
    // The text is that of a value which has passed the same rules.
    if (const Value* fresh = find(field.key)) HG_CHECK(field.set(fresh->text).ok());
  }

 private:
  const Value* find(std::string_view key) const {
    const auto found = values_.find(path_of(key));
    return found == values_.end() ? nullptr : &found->second;
  }

  const Values& values_;
};

Values values_of(const ReloadRules& rules, const DescribeSettings& describe) {
  Reader reader(rules);
  describe(reader);
  return reader.take();
}

std::set<std::string> changed_paths(const Values& before, const Values& after) {
  std::set<std::string> changed;
  for (const auto& [path, value] : before) {
    const auto found = after.find(path);
    if (found == after.end() || !(found->second == value)) changed.insert(path);
  }
  for (const auto& [path, value] : after) {
    if (before.count(path) == 0) changed.insert(path);
  }
  return changed;
}

}  // namespace

SettingsInForce::SettingsInForce(ReloadRules rules, const DescribeSettings& in_force)
    : rules_(std::move(rules)), values_(values_of(rules_, in_force)) {}

SettingsChanges SettingsInForce::take_over(const DescribeSettings& in_force, const DescribeSettings& fresh) {
  const Values after = values_of(rules_, fresh);
  const std::set<std::string> changed = changed_paths(values_, after);
  std::set<std::string> other_elements;
  for (const std::string& path : changed) {
    if (rules_.identity.count(rule_of(path)) != 0) other_elements.insert(element_of(path));
  }
  const auto can_be_taken = [&](const std::string& path) {
    if (rules_.keys.count(rule_of(path)) == 0 || values_.count(path) == 0 || after.count(path) == 0) return false;
    return !rules_.allows || rules_.allows(path, values_.at(path).text, after.at(path).text);
  };
  Values taken;
  std::set<std::string> restart;
  for (const std::string& path : changed) {
    const std::string element = element_of(path);
    if (other_elements.count(element) != 0) {
      restart.insert(element);
    } else if (can_be_taken(path)) {
      taken[path] = values_[path] = after.at(path);
    } else {
      restart.insert(path);
    }
  }
  Writer writer(taken);
  in_force(writer);
  SettingsChanges changes;
  for (const auto& [path, value] : taken) changes.taken.push_back(path);
  changes.restart.assign(restart.begin(), restart.end());
  return changes;
}

}  // namespace headgate
