#include <algorithm>
#include <fstream>

#include "tests/integration/observed.h"

namespace headgate::testing {
namespace {

// Shown as <name> whatever their value, unless empty: "was there a token" is compared, its text is not.
const std::map<std::string, std::string> kHidden = {
    {"snap_token", "<snap_token>"},
    {"schema_version", "<schema_version>"},
    {"head", "<schema_version>"},
    {"version", "<schema_version>"},
    {"continuous_token", "<continuous_token>"},
    {"created_at", "<created_at>"},
    {"check_count", "<check_count>"},
    {"expression", "<expression>"},
};
// Lists without a promised order.
const std::set<std::string> kUnordered = {"subjects", "data_changes"};

std::string base64(const std::string& text) {
  static const char* kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < text.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (i + j < text.size() ? static_cast<uint8_t>(text[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += i + j > text.size() ? '=' : kAlphabet[group >> (18 - 6 * j) & 63];
  }
  return out;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

void flatten(const Json& value, const std::string& path, std::map<std::string, Json>& out) {
  if ((value.is_object() || value.is_array()) && !value.empty()) {
    size_t index = 0;
    for (const auto& [key, inner] : value.items()) {
      const std::string name = value.is_array() ? std::to_string(index++) : key;
      flatten(inner, path.empty() ? name : path + "." + name, out);
    }
  } else {
    out[path] = value;
  }
}

}  // namespace

Texts::Texts(std::string run_id) : variables_{{"T", "obs" + run_id}, {"Z", "zzzz" + run_id}} {}

bool Texts::is_of_this_run(const std::string& tenant) const {
  return tenant.rfind(variables_.at("T"), 0) == 0 || tenant.rfind(variables_.at("Z"), 0) == 0;
}

std::string Texts::value_of(const std::string& name, int number) const {
  if (name.rfind("rep:", 0) == 0) {
    const size_t colon = name.find(':', 4);
    std::string out;
    for (int i = std::stoi(name.substr(colon + 1)); i > 0; --i) out += name.substr(4, colon - 4);
    return out;
  }
  if (name.rfind("b64:", 0) == 0) return base64(name.substr(4));
  if (name == "i") return std::to_string(number);
  if (name == "i4") {
    const std::string digits = std::to_string(number);
    return std::string(4 - std::min<size_t>(4, digits.size()), '0') + digits;
  }
  const auto found = variables_.find(name);
  return found == variables_.end() ? "" : found->second;
}

std::string Texts::fill_text(std::string text, int number) const {
  // The innermost first: ${b64:${Z}} is the base64 of an id.
  for (size_t from = text.rfind("${"); from != std::string::npos; from = text.rfind("${")) {
    const size_t end = text.find('}', from);
    if (end == std::string::npos) break;
    text.replace(from, end - from + 1, value_of(text.substr(from + 2, end - from - 2), number));
  }
  return text;
}

Json Texts::fill(const Json& value, int number) const {
  if (value.is_string()) return fill_text(value.get<std::string>(), number);
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, inner] : value.items()) out[fill_text(key, number)] = fill(inner, number);
    return out;
  }
  if (!value.is_array()) return value;
  Json out = Json::array();
  for (const Json& inner : value) {
    if (inner.is_object() && inner.contains("$repeat")) {
      for (int i = 0; i < inner["$repeat"].get<int>(); ++i) out.push_back(fill(inner["item"], i));
    } else {
      out.push_back(fill(inner, number));
    }
  }
  return out;
}

namespace {

void sort_list(Json& list) {
  std::sort(list.begin(), list.end(), [](const Json& a, const Json& b) { return a.dump() < b.dump(); });
}

}  // namespace

Json Texts::canonical(const Json& answer, const std::set<std::string>& keep) const {
  return canonical(answer, "", keep);
}

Json Texts::canonical(const Json& value, const std::string& key, const std::set<std::string>& keep) const {
  const auto hidden = kHidden.find(key);
  if (hidden != kHidden.end() && keep.count(key) == 0 && !value.is_null() && value != "") return hidden->second;
  if (value.is_object()) {
    Json out = Json::object();
    for (const auto& [name, inner] : value.items()) out[name] = canonical(inner, name, keep);
    // The children of an Expand union.
    if (out.value("operation", Json()) == "OPERATION_UNION" && out.contains("children")) sort_list(out["children"]);
    return out;
  }
  if (value.is_array()) {
    std::vector<Json> items;
    for (const Json& inner : value) items.push_back(canonical(inner, "", keep));
    Json list = items;
    if (kUnordered.count(key) != 0) sort_list(list);
    return list;
  }
  if (!value.is_string()) return value;
  auto text = value.get<std::string>();
  replace_all(text, "\u00a0", " ");
  std::vector<std::pair<std::string, std::string>> longest(variables_.begin(), variables_.end());
  std::sort(longest.begin(), longest.end(),
            [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
  for (const auto& [name, content] : longest) {
    if (content.size() > 7) replace_all(text, content, "${" + name + "}");
  }
  return text;
}

void Texts::save(const std::string& variable, const std::string& path, const Json& answer) {
  Json at = answer;
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('.', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (at.is_array()) {
      const size_t index = std::stoul(part);
      at = index < at.size() ? Json(at[index]) : Json();
    } else {
      at = at.is_object() && at.contains(part) ? Json(at[part]) : Json();
    }
    start = end + 1;
  }
  variables_[variable] = at.is_string() ? at.get<std::string>() : "";
}

std::vector<Difference> compare(const Json& expected, const Json& got) {
  std::map<std::string, Json> a;
  std::map<std::string, Json> b;
  flatten(expected, "", a);
  flatten(got, "", b);
  std::vector<Difference> out;
  for (const auto& [path, value] : a) {
    const auto found = b.find(path);
    if (found == b.end()) {
      out.push_back({path, value.dump(), "<absent>"});
    } else if (found->second != value) {
      out.push_back({path, value.dump(), found->second.dump()});
    }
  }
  for (const auto& [path, value] : b) {
    if (a.count(path) == 0) out.push_back({path, "<absent>", value.dump()});
  }
  return out;
}

std::vector<Deviation> read_deviations(const std::string& file) {
  std::ifstream in(file);
  std::vector<Deviation> out;
  for (const Json& row : Json::parse(in)) {
    out.push_back({row.value("scenario", "*"), row.value("step", 0), row.value("call", ""), row.value("path", ""),
                   row.value("got", Json()), row.value("any", false), row.at("reason"), false});
  }
  return out;
}

}  // namespace headgate::testing
