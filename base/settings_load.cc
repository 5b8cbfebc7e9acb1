#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <set>
#include <sstream>

#include "base/settings.h"
#include "base/settings_text.h"

extern char** environ;

namespace headgate {
namespace {

constexpr size_t kListMax = 1000;

std::string joined(const std::string& path, std::string_view key) {
  if (key.empty()) return path;
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
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
  bool checks() const override { return true; }
  using Settings::require;
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

  // What the file or the environment says of one key.
  struct Given {
    std::string path;
    std::string origin;  // for messages
    YAML::Node node{YAML::NodeType::Undefined};
    std::optional<std::string> text;  // when it is one text
    bool is_file = false;             // the text is that of a file, to be taken as it is
    bool broken = false;              // the fault has been reported
    bool absent() const { return broken || (!text.has_value() && !node.IsDefined()); }
  };

  Frame& top() { return frames_.back(); }
  // `from_file`: the variable may have _FILE behind its name and then names a file that holds the value.
  Given given(std::string_view key, bool from_file);
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
  std::set<std::string> file_variables_;
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
  StatusOr<std::string> read = text_of_file(text.substr(5));
  if (!read.ok()) {
    fault(origin, message_of(read.status()));
    return false;
  }
  text = std::move(*read);
  return true;
}

Loader::Given Loader::given(std::string_view key, bool from_file) {
  Given found;
  found.path = joined(top().path, key);
  found.node = child(key);
  const std::string* variable = env_value(found.path);
  const std::string file_name = env_name(found.path) + "_FILE";
  const auto file = from_file ? source_.environment.find(file_name) : source_.environment.end();
  if (from_file) file_variables_.insert(file_name);
  if (variable != nullptr) {
    found.text = *variable;
    found.origin = env_name(found.path);
    if (file != source_.environment.end()) fault(file_name, fmt::format("{} is set as well; keep one", found.origin));
  } else if (file != source_.environment.end()) {
    found.origin = file_name;
    found.is_file = true;
    StatusOr<std::string> read = text_of_file(file->second);
    if (read.ok()) {
      found.text = std::move(*read);
    } else {
      faulty_paths_.insert(found.path);
      fault(file_name, fmt::format("{}: {}", found.path, message_of(read.status())));
      found.broken = true;
    }
  } else if (found.node.IsDefined()) {
    found.origin = place(found.node);
    if (found.node.IsScalar()) found.text = found.node.Scalar();
  }
  return found;
}

void Loader::field(const SettingsField& field) {
  Given given = this->given(field.key, field.secret || field.type == "text");
  if (given.absent()) return;
  if (!given.text.has_value()) {
    faulty_paths_.insert(given.path);
    return fault(given.origin, fmt::format("{} must be a single value ({})", given.path, field.type));
  }
  if (!given.is_file && !expand(*given.text, field.secret, given.origin + ": " + given.path)) {
    faulty_paths_.insert(given.path);
    return;
  }
  const Status status = field.set(*given.text);
  if (status.ok()) return;
  faulty_paths_.insert(given.path);
  fault(given.origin, fmt::format("{}: {}", given.path, message_of(status)));
}

void Loader::read_list(std::string_view key, std::vector<std::string>& value, bool secret) {
  const Given given = this->given(key, true);
  if (given.absent()) return;
  const std::string& path = given.path;
  std::vector<std::string> items;
  if (given.text.has_value()) {
    StatusOr<std::vector<std::string>> read =
        given.is_file ? split_trimmed(*given.text, '\n') : list_of_text(*given.text);
    if (!read.ok()) return fault(given.origin, fmt::format("{} {}", path, message_of(read.status())));
    items = std::move(*read);
  } else if (given.node.IsSequence()) {
    for (const auto& item : given.node) {
      if (!item.IsScalar()) return fault(place(item), fmt::format("{} must be a list of single values", path));
      items.push_back(item.Scalar());
    }
  } else {
    return fault(given.origin, fmt::format("{} must be a list", path));
  }
  for (std::string& item : items) {
    if (!given.is_file && !expand(item, secret, given.origin + ": " + path)) return;
  }
  value = std::move(items);
}

void Loader::map(std::string_view key, std::map<std::string, std::string>& value, std::string_view) {
  const Given given = this->given(key, false);
  if (given.absent()) return;
  const std::string& path = given.path;
  std::map<std::string, std::string> pairs;
  if (given.text.has_value()) {
    StatusOr<std::map<std::string, std::string>> read = map_of_text(*given.text);
    if (!read.ok()) return fault(given.origin, fmt::format("{} {}", path, message_of(read.status())));
    pairs = std::move(*read);
  } else if (given.node.IsMap()) {
    for (const auto& pair : given.node) {
      if (!pair.first.IsScalar() || !pair.second.IsScalar()) {
        return fault(place(pair.first), fmt::format("{} must be a map of single values", path));
      }
      if (!pairs.emplace(pair.first.Scalar(), pair.second.Scalar()).second) {
        return fault(place(pair.first), fmt::format("{} is there twice", joined(path, pair.first.Scalar())));
      }
    }
  } else {
    return fault(given.origin, fmt::format("{} must be a map", path));
  }
  for (auto& [name, text] : pairs) {
    if (!expand(text, true, given.origin + ": " + joined(path, name))) return;
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
  while (!key.empty()) {
    const std::string_view word = key.substr(0, key.find('.'));
    std::string_view rest = key.substr(std::min(key.size(), word.size() + 1));
    YAML::Node next(YAML::NodeType::Undefined);
    if (node.IsSequence()) {
      for (size_t i = 0; i < node.size(); ++i) {
        if (word == fmt::format("{}", i)) next.reset(node[i]);
      }
    } else if (node.IsMap()) {
      for (const auto& pair : node) {
        if (!pair.first.IsScalar()) continue;
        // The names in a map may hold dots themselves.
        const bool whole = pair.first.Scalar() == key;
        if (!whole && pair.first.Scalar() != word) continue;
        next.reset(pair.second);
        found = place(pair.first);
        if (whole) rest = {};
      }
    }
    if (!next.IsDefined()) break;
    if (node.IsSequence()) found = place(next);
    node.reset(next);
    key = rest;
  }
  return found;
}

Status Loader::finish(std::vector<std::string>* warnings) {
  leave();
  std::vector<std::string> known(used_variables_.begin(), used_variables_.end());
  const std::string prefix = source_.env_prefix + "_";
  for (const auto& [name, value] : source_.environment) {
    if (warnings == nullptr || source_.env_prefix.empty() || name.rfind(prefix, 0) != 0) continue;
    if (used_variables_.count(name) + file_variables_.count(name) != 0 || is_service_variable(name)) continue;
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
