#include <algorithm>
#include <cctype>

#include "base/settings.h"

namespace headgate {
namespace {

constexpr std::string_view kMask = "***";

bool sounds_secret(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (std::string_view word : {"password", "passwd", "secret", "token", "credential", "passphrase", "jaas", ".pem"}) {
    if (name.find(word) != std::string::npos) return true;
  }
  return false;
}

// Always quoted: no text then has a second meaning in YAML.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// A value, which is expanded when it is read: "${" becomes "$${".
std::string quoted_value(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) out += '$';
    out += text[i];
  }
  return quoted(out);
}

class Printer : public Settings {
 public:
  std::string take() { return std::move(out_); }

  void list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    items(key, value, [](const std::string& item) { return quoted_value(mask_secrets(item)); });
  }
  void secret_list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    items(key, value, [](const std::string&) { return quoted(std::string(kMask)); });
  }
  void map(std::string_view key, std::map<std::string, std::string>& value, std::string_view) override {
    std::vector<std::string> pairs;
    for (const auto& [name, text] : value) {
      const std::string shown = sounds_secret(name) ? std::string(kMask) : mask_secrets(text);
      pairs.push_back(quoted(name) + ": " + quoted_value(shown));
    }
    line(key, fmt::format("{{{}}}", fmt::join(pairs, ", ")));
  }

 protected:
  void field(const SettingsField& field) override {
    std::string text = field.get();
    if (field.secret) {
      text = quoted(text.empty() ? "" : std::string(kMask));
    } else if (field.type == "text") {
      text = quoted_value(mask_secrets(text));
    }
    line(field.key, text);
  }
  bool enter(std::string_view key) override {
    line(key, "");
    ++depth_;
    return true;
  }
  void leave() override { --depth_; }
  size_t enter_list(std::string_view key, size_t present) override {
    line(key, present == 0 ? "[]" : "");
    ++depth_;
    return present;
  }
  void enter_element(size_t) override {
    ++depth_;
    dash_ = true;
  }
  void leave_list() override { --depth_; }

 private:
  template <typename Show>
  void items(std::string_view key, const std::vector<std::string>& value, Show show) {
    std::vector<std::string> shown;
    for (const std::string& item : value) shown.push_back(show(item));
    line(key, fmt::format("[{}]", fmt::join(shown, ", ")));
  }

  void line(std::string_view key, const std::string& value) {
    std::string indent(static_cast<size_t>(2 * depth_), ' ');
    if (dash_) indent.replace(indent.size() - 2, 2, "- ");
    dash_ = false;
    out_ += fmt::format("{}{}:{}{}\n", indent, key, value.empty() ? "" : " ", value);
  }

  std::string out_;
  int depth_ = 0;
  bool dash_ = false;
};

class Reference : public Settings {
 public:
  explicit Reference(std::string prefix) : prefix_(std::move(prefix)) {
    out_ = "| key | environment | type | default | meaning |\n|---|---|---|---|---|\n";
  }
  std::string take() { return std::move(out_); }

  void list(std::string_view key, std::vector<std::string>& value, std::string_view help) override {
    row(key, "list", fmt::format("{}", fmt::join(value, ",")), help);
  }
  void secret_list(std::string_view key, std::vector<std::string>&, std::string_view help) override {
    row(key, "list of secrets", "", help);
  }
  void map(std::string_view key, std::map<std::string, std::string>&, std::string_view help) override {
    row(key, "map", "", help);
  }

 protected:
  void field(const SettingsField& field) override {
    row(field.key, field.type, field.secret ? "" : mask_secrets(field.get()), field.help);
  }
  bool enter(std::string_view key) override {
    path_.emplace_back(key);
    return true;
  }
  void leave() override { path_.pop_back(); }
  // One element is shown, as an example of all.
  size_t enter_list(std::string_view key, size_t) override {
    path_.emplace_back(key);
    return 1;
  }
  void enter_element(size_t index) override { path_.push_back(fmt::format("{}", index)); }
  void leave_list() override { path_.pop_back(); }

 private:
  void row(std::string_view key, std::string_view type, const std::string& value, std::string_view help) {
    std::string path = fmt::format("{}{}{}", fmt::join(path_, "."), path_.empty() ? "" : ".", key);
    std::string name = prefix_ + "_" + path;
    for (char& c : name)
      c = c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const std::string shown = value.empty() ? "" : "`" + value + "`";
    out_ += fmt::format("| {} | {} | {} | {} | {} |\n", path, name, type, shown, help);
  }

  const std::string prefix_;
  std::string out_;
  std::vector<std::string> path_;
};

}  // namespace

std::string print_settings(const DescribeSettings& describe) {
  Printer printer;
  describe(printer);
  return printer.take();
}

std::string settings_reference(const DescribeSettings& describe, const std::string& env_prefix) {
  Reference reference(env_prefix);
  describe(reference);
  return reference.take();
}

}  // namespace headgate
