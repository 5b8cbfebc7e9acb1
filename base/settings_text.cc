#include "base/settings_text.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <iterator>

namespace headgate {
namespace {

bool begins_with(const std::string& text, char sign) {
  const size_t first = text.find_first_not_of(" \t\n");
  return first != std::string::npos && text[first] == sign;
}

// Not defined when the text is no YAML.
YAML::Node yaml_of(const std::string& text) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception&) {
    return YAML::Node(YAML::NodeType::Undefined);
  }
}

}  // namespace

std::vector<std::string> split_trimmed(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(separator, start), text.size());
    size_t from = start;
    size_t to = end;
    while (from < to && (text[from] == ' ' || text[from] == '\r')) ++from;
    while (to > from && (text[to - 1] == ' ' || text[to - 1] == '\r')) --to;
    if (to > from) parts.push_back(text.substr(from, to - from));
    start = end + 1;
  }
  return parts;
}

StatusOr<std::vector<std::string>> list_of_text(const std::string& text) {
  if (!begins_with(text, '[')) return split_trimmed(text, ',');
  std::vector<std::string> items;
  const YAML::Node node = yaml_of(text);
  bool good = node.IsDefined() && node.IsSequence();
  for (size_t i = 0; good && i < node.size(); ++i) {
    good = node[i].IsScalar();
    if (good) items.push_back(node[i].Scalar());
  }
  if (!good) return invalid_argument("must be a list: [\"a\", \"b\"] as in YAML, or a,b");
  return items;
}

StatusOr<std::map<std::string, std::string>> map_of_text(const std::string& text) {
  std::map<std::string, std::string> pairs;
  if (begins_with(text, '{')) {
    const YAML::Node node = yaml_of(text);
    bool good = node.IsDefined() && node.IsMap();
    if (good) {
      for (const auto& pair : node) {
        good = good && pair.first.IsScalar() && pair.second.IsScalar();
        if (good) pairs[pair.first.Scalar()] = pair.second.Scalar();
      }
    }
    if (!good) return invalid_argument("must be a map: {{name: \"value\"}} as in YAML, or name=value, name=value");
    return pairs;
  }
  for (const std::string& item : split_trimmed(text, ',')) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos) {
      return invalid_argument("must be name=value, name=value; values with commas as in YAML: {{name: \"a,b\"}}");
    }
    pairs[item.substr(0, equals)] = item.substr(equals + 1);
  }
  return pairs;
}

Status check_readable(const std::string& path) {
  if (path.empty() || ::access(path.c_str(), R_OK) == 0) return ok_status();
  return invalid_argument("cannot read the file '{}'", path);
}

StatusOr<std::string> text_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) return invalid_argument("cannot read the file '{}'", path);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace headgate
