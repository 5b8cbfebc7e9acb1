#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "base/settings.h"

extern char** environ;

namespace headgate {
namespace {

constexpr size_t kListMax = 1000;

std::string joined(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(separator, start), text.size());
    size_t from = start;
    size_t to = end;
    while (from < to && text[from] == ' ') ++from;
    while (to > from && text[to - 1] == ' ') --to;
    if (to > from) parts.push_back(text.substr(from, to - from));
    start = end + 1;
  }
  return parts;
}

// Clusters give every container addresses of the services beside it, named like our own variables.
bool is_service_variable(const std::string& name) {
  static const std::regex kPattern("_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)?$");
  return std::regex_search(name, kPattern);
}

// Only how many documents there are is of interest.
class Nothing : public YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// Not YAML::LoadAll: it never ends, and takes all memory, on texts in which the parser does not move, such as ",".
bool holds_several_documents(const std::string& yaml) {
  std::istringstream in(yaml);
  YAML::Parser parser(in);
  Nothing nothing;
  return parser.HandleNextDocument(nothing) && parser.HandleNextDocument(nothing);
}

class Loader : public Settings {
 public:
  Loader(std::string name, const SettingsSource& source) : name_(std::move(name)), source_(source) {}

  void open(const std::string& yaml);
  Status finish(std::vector<std::string>* warnings);
  void fault(const std::string& origin, const std::string& text) { faults_.push_back(origin + ": " + text); }

  void list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    read_list(key, value, false);
  }
  void secret_list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    read_list(key, value, true);
  }
  void map(std::string_view key, std::map<std::string, std::string>& value, std::string_view help) override;
  void require(bool holds, std::string_view key, std::string_view text) override;

 protected:
  void field(const SettingsField& field) override;
  bool enter(std::string_view key) override;
  void leave() override;
  size_t enter_list(std::string_view key, size_t present) override;
  void enter_element(size_t index) override;
  void leave_list() override { frames_.pop_back(); }

 private:
  struct Frame {
    YAML::Node node;  // not defined when the file has no such section
    std::string path;
    std::vector<std::string> known;
  };

  Frame& top() { return frames_.back(); }
  // The value of `key` in the current section; not defined when absent or null.
  YAML::Node child(std::string_view key);
  void push_section(YAML::Node node, std::string path);
  std::string env_name(const std::string& path) const;
  const std::string* env_value(const std::string& path);
  std::string place(const YAML::Node& node) const;
  // Replaces ${NAME} and, for secrets, file:PATH. False when a fault was noted.
  bool expand(std::string& text, bool secret, const std::string& origin);
  void read_list(std::string_view key, std::vector<std::string>& value, bool secret);
  // A value beside or below the rule's own did not parse and has been reported; what follows from it is noise.
  bool follows_from_fault(const std::string& path);
  // Where the file holds `key` (dotted, from the current section on), or as much of its path as there is.
  std::string place_of_rule(std::string_view key);
  size_t listed_in_environment(const std::string& path, size_t present);

  const std::string name_;
  const SettingsSource& source_;
  std::vector<Frame> frames_;
  std::vector<std::string> faults_;
  std::set<std::string> faulty_paths_;
  std::set<std::string> used_variables_;
};

void Loader::open(const std::string& yaml) {
  YAML::Node root(YAML::NodeType::Undefined);
  try {
    if (holds_several_documents(yaml)) fault(name_, "holds more than one YAML document");
    root.reset(YAML::Load(yaml));
  } catch (const YAML::Exception& error) {
    fault(fmt::format("{}:{}:{}", name_, error.mark.line + 1, error.mark.column + 1), "not valid YAML: " + error.msg);
  }
  push_section(root, "");
}

void Loader::push_section(YAML::Node node, std::string path) {
  if (node.IsDefined() && node.IsNull()) node = YAML::Node(YAML::NodeType::Undefined);
  if (node.IsDefined() && !node.IsMap()) {
    fault(place(node), fmt::format("{} must be a section with keys", path.empty() ? "the file" : path));
    node = YAML::Node(YAML::NodeType::Undefined);
  }
  if (node.IsDefined()) {
    std::set<std::string> seen;
    for (const auto& pair : node) {
      const std::string key = pair.first.IsScalar() ? pair.first.Scalar() : "?";
      if (!seen.insert(key).second) fault(place(pair.first), fmt::format("{} is there twice", joined(path, key)));
    }
  }
  frames_.push_back({node, std::move(path), {}});
}

YAML::Node Loader::child(std::string_view key) {
  top().known.emplace_back(key);
  if (top().node.IsDefined()) {
    for (const auto& pair : top().node) {
      if (pair.first.IsScalar() && pair.first.Scalar() == key && !pair.second.IsNull()) return pair.second;
    }
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

std::string Loader::place(const YAML::Node& node) const {
  const YAML::Mark mark = node.Mark();
  return mark.is_null() ? name_ : fmt::format("{}:{}:{}", name_, mark.line + 1, mark.column + 1);
}

std::string Loader::env_name(const std::string& path) const {
  std::string name = source_.env_prefix + "_" + path;
  for (char& c : name) c = c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

const std::string* Loader::env_value(const std::string& path) {
  const std::string name = env_name(path);
  // Two keys with one variable would be a mistake in a describe function.
  HG_CHECK(used_variables_.insert(name).second);
  const auto found = source_.environment.find(name);
  return found == source_.environment.end() ? nullptr : &found->second;
}

bool Loader::expand(std::string& text, bool secret, const std::string& origin) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 3, "$${") == 0) {
      out += "${";
      i += 3;
    } else if (text.compare(i, 2, "${") == 0) {
      const size_t end = text.find('}', i);
      const std::string name = text.substr(i + 2, end == std::string::npos ? end : end - i - 2);
      const auto found = source_.environment.find(name);
      if (end == std::string::npos || found == source_.environment.end()) {
        fault(origin, fmt::format("the environment has no variable '{}'", name));
        return false;
      }
      out += found->second;
      i = end + 1;
    } else {
      out += text[i++];
    }
  }
  text = std::move(out);
  if (!secret || text.rfind("file:", 0) != 0) return true;
  const std::string path = text.substr(5);
  std::ifstream in(path, std::ios::binary);
  text.assign(std::istreambuf_iterator<char>(in), {});
  if (!in) {
    fault(origin, fmt::format("cannot read the file '{}'", path));
    return false;
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return true;
}

void Loader::field(const SettingsField& field) {
  const std::string path = joined(top().path, field.key);
  const YAML::Node node = child(field.key);
  const std::string* variable = env_value(path);
  if (variable == nullptr && !node.IsDefined()) return;
  const std::string origin = variable != nullptr ? env_name(path) : place(node);
  if (variable == nullptr && !node.IsScalar()) {
    faulty_paths_.insert(path);
    return fault(origin, fmt::format("{} must be a single value ({})", path, field.type));
  }
  std::string text = variable != nullptr ? *variable : node.Scalar();
  if (!expand(text, field.secret, origin + ": " + path)) {
    faulty_paths_.insert(path);
    return;
  }
  const Status status = field.set(text);
  if (status.ok()) return;
  faulty_paths_.insert(path);
  fault(origin, fmt::format("{}: {}", path, message_of(status)));
}

void Loader::read_list(std::string_view key, std::vector<std::string>& value, bool secret) {
  const std::string path = joined(top().path, key);
  const YAML::Node node = child(key);
  const std::string* variable = env_value(path);
  if (variable == nullptr && !node.IsDefined()) return;
  const std::string origin = variable != nullptr ? env_name(path) : place(node);
  std::vector<std::string> items;
  if (variable != nullptr || node.IsScalar()) {
    items = split(variable != nullptr ? *variable : node.Scalar(), ',');
  } else if (node.IsSequence()) {
    for (const auto& item : node) {
      if (!item.IsScalar()) return fault(place(item), fmt::format("{} must be a list of single values", path));
      items.push_back(item.Scalar());
    }
  } else {
    return fault(origin, fmt::format("{} must be a list", path));
  }
  for (std::string& item : items) {
    if (!expand(item, secret, origin + ": " + path)) return;
  }
  value = std::move(items);
}

void Loader::map(std::string_view key, std::map<std::string, std::string>& value, std::string_view) {
  const std::string path = joined(top().path, key);
  const YAML::Node node = child(key);
  const std::string* variable = env_value(path);
  if (variable == nullptr && !node.IsDefined()) return;
  const std::string origin = variable != nullptr ? env_name(path) : place(node);
  std::map<std::string, std::string> pairs;
  if (variable != nullptr || node.IsScalar()) {
    for (const std::string& item : split(variable != nullptr ? *variable : node.Scalar(), ',')) {
      const size_t equals = item.find('=');
      if (equals == std::string::npos) return fault(origin, fmt::format("{} must be name=value, name=value", path));
      pairs[item.substr(0, equals)] = item.substr(equals + 1);
    }
  } else if (node.IsMap()) {
    for (const auto& pair : node) {
      if (!pair.first.IsScalar() || !pair.second.IsScalar()) {
        return fault(place(pair.first), fmt::format("{} must be a map of single values", path));
      }
      if (!pairs.emplace(pair.first.Scalar(), pair.second.Scalar()).second) {
        return fault(place(pair.first), fmt::format("{} is there twice", joined(path, pair.first.Scalar())));
      }
    }
  } else {
    return fault(origin, fmt::format("{} must be a map", path));
  }
  for (auto& [name, text] : pairs) {
    if (!expand(text, true, origin + ": " + joined(path, name))) return;
  }
  value = std::move(pairs);
}

bool Loader::enter(std::string_view key) {
  const std::string path = joined(top().path, key);
  const YAML::Node node = child(key);
  push_section(node, path);
  return true;
}

void Loader::leave() {
  const Frame frame = std::move(frames_.back());
  frames_.pop_back();
  if (!frame.node.IsDefined()) return;
  for (const auto& pair : frame.node) {
    const std::string key = pair.first.IsScalar() ? pair.first.Scalar() : "?";
    if (std::find(frame.known.begin(), frame.known.end(), key) != frame.known.end()) continue;
    const std::string meant = did_you_mean(key, frame.known);
    fault(place(pair.first), fmt::format("unknown key {}{}", joined(frame.path, key),
                                         meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
  }
}

size_t Loader::listed_in_environment(const std::string& path, size_t present) {
  const std::string prefix = env_name(path) + "_";
  std::set<size_t> indices;
  for (auto it = source_.environment.lower_bound(prefix);
       it != source_.environment.end() && it->first.rfind(prefix, 0) == 0; ++it) {
    const std::string rest = it->first.substr(prefix.size());
    const StatusOr<int64_t> index = parse_integer(rest.substr(0, rest.find('_')), 0, kListMax - 1);
    if (index.ok()) indices.insert(static_cast<size_t>(*index));
  }
  size_t count = present;
  for (const size_t index : indices) {
    if (index > count) {
      fault(fmt::format("{}{}", prefix, index), fmt::format("{} has no element {}", path, count));
      return count;
    }
    count = std::max(count, index + 1);
  }
  return count;
}

size_t Loader::enter_list(std::string_view key, size_t present) {
  const std::string path = joined(top().path, key);
  YAML::Node node = child(key);
  if (node.IsDefined() && !node.IsSequence()) {
    fault(place(node), fmt::format("{} must be a list of sections", path));
    node = YAML::Node(YAML::NodeType::Undefined);
  }
  const size_t in_file = node.IsDefined() ? node.size() : 0;
  frames_.push_back({node, path, {}});
  return listed_in_environment(path, std::max(present, in_file));
}

void Loader::enter_element(size_t index) {
  const YAML::Node& list = top().node;
  const bool in_file = list.IsDefined() && index < list.size();
  const YAML::Node element = in_file ? list[index] : YAML::Node(YAML::NodeType::Undefined);
  push_section(element, joined(top().path, fmt::format("{}", index)));
}

void Loader::require(bool holds, std::string_view key, std::string_view text) {
  if (holds) return;
  const std::string path = joined(top().path, key);
  if (follows_from_fault(path)) return;
  std::string origin = name_.empty() ? source_.env_prefix : name_;
  if (source_.environment.count(env_name(path)) != 0) {
    origin = env_name(path);
  } else if (top().node.IsDefined()) {
    origin = place_of_rule(key);
  }
  fault(origin, fmt::format("{} {}", path, text));
}

bool Loader::follows_from_fault(const std::string& path) {
  const std::string section = top().path.empty() ? "" : top().path + ".";
  for (auto at = faulty_paths_.lower_bound(section); at != faulty_paths_.end(); ++at) {
    if (at->rfind(section, 0) != 0) break;
    const bool beside = at->find('.', section.size()) == std::string::npos;
    if (beside || at->rfind(path, 0) == 0) return true;
  }
  return false;
}

std::string Loader::place_of_rule(std::string_view key) {
  YAML::Node node = top().node;
  std::string found = place(node);
  for (const std::string& word : split(std::string(key), '.')) {
    YAML::Node next(YAML::NodeType::Undefined);
    if (node.IsSequence()) {
      for (size_t i = 0; i < node.size(); ++i) {
        if (word == fmt::format("{}", i)) next.reset(node[i]);
      }
    } else if (node.IsMap()) {
      for (const auto& pair : node) {
        if (pair.first.IsScalar() && pair.first.Scalar() == word) next.reset(pair.second), found = place(pair.first);
      }
    }
    if (!next.IsDefined()) break;
    if (node.IsSequence()) found = place(next);
    node.reset(next);
  }
  return found;
}

Status Loader::finish(std::vector<std::string>* warnings) {
  leave();
  std::vector<std::string> known(used_variables_.begin(), used_variables_.end());
  const std::string prefix = source_.env_prefix + "_";
  for (const auto& [name, value] : source_.environment) {
    if (warnings == nullptr || source_.env_prefix.empty() || name.rfind(prefix, 0) != 0) continue;
    if (used_variables_.count(name) != 0 || is_service_variable(name)) continue;
    const std::string meant = did_you_mean(name, known);
    warnings->push_back(fmt::format("the variable {} belongs to no setting{}", name,
                                    meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
  }
  if (faults_.empty()) return ok_status();
  return invalid_argument("{}", fmt::join(faults_, "\n"));
}

}  // namespace

std::map<std::string, std::string> process_environment() {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) all.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return all;
}

Status load_settings_text(const DescribeSettings& describe, const std::string& name, const std::string& yaml,
                          const SettingsSource& source, std::vector<std::string>* warnings) {
  Loader loader(name, source);
  loader.open(yaml);
  describe(loader);
  return loader.finish(warnings);
}

Status load_settings(const DescribeSettings& describe, const SettingsSource& source,
                     std::vector<std::string>* warnings) {
  if (source.file.empty()) return load_settings_text(describe, "", "", source, warnings);
  std::ifstream in(source.file, std::ios::binary);
  std::string yaml{std::istreambuf_iterator<char>(in), {}};
  if (!in) return status_of(StatusCode::kNotFound, "cannot read the settings file '{}'", source.file);
  return load_settings_text(describe, source.file, yaml, source, warnings);
}

}  // namespace headgate
