#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>

#include "base/settings.h"

namespace headgate {
namespace {

constexpr std::string_view kSecretMask = "***";

bool sounds_secret(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (std::string_view word : {"password", "passwd", "secret", "token", "credential", "passphrase", "jaas", ".pem"}) {
    if (name.find(word) != std::string::npos) return true;
  }
  return false;
}

// What is read as a value is expanded then: "${" becomes "$${".
std::string unexpanded(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) out += '$';
    out += text[i];
  }
  return out;
}

// Texts are always quoted: none has a second meaning in YAML then.
class Printer : public Settings {
 public:
  Printer() { out_ << YAML::BeginMap; }
  std::string take() {
    out_ << YAML::EndMap;
    return std::string(out_.c_str()) + "\n";
  }

  void list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    write_key(key);
    out_ << YAML::Flow << YAML::BeginSeq;
    for (const std::string& item : value) write_text(mask_secrets(item));
    out_ << YAML::EndSeq;
  }
  void secret_list(std::string_view key, std::vector<std::string>& value, std::string_view) override {
    write_key(key);
    out_ << YAML::Flow << YAML::BeginSeq;
    for (size_t i = 0; i < value.size(); ++i) write_text(std::string(kSecretMask));
    out_ << YAML::EndSeq;
  }
  void map(std::string_view key, std::map<std::string, std::string>& value, std::string_view) override {
    write_key(key);
    out_ << YAML::Flow << YAML::BeginMap;
    for (const auto& [name, text] : value) {
      out_ << YAML::Key << YAML::DoubleQuoted << name << YAML::Value;
      write_text(sounds_secret(name) ? std::string(kSecretMask) : mask_secrets(text));
    }
    out_ << YAML::EndMap;
  }

 protected:
  void field(const SettingsField& field) override {
    const std::string text = field.get();
    write_key(field.key);
    if (field.secret) {
      write_text(text.empty() ? "" : std::string(kSecretMask));
    } else if (field.type == "text") {
      write_text(mask_secrets(text));
    } else {
      out_ << text;
    }
  }
  bool enter(std::string_view key) override {
    write_key(key);
    out_ << YAML::BeginMap;
    return true;
  }
  void leave() override { out_ << YAML::EndMap; }
  size_t enter_list(std::string_view key, size_t present) override {
    write_key(key);
    out_ << YAML::BeginSeq;
    return present;
  }
  void enter_element(size_t) override { out_ << YAML::BeginMap; }
  void leave_list() override { out_ << YAML::EndSeq; }

 private:
  void write_key(std::string_view key) { out_ << YAML::Key << std::string(key) << YAML::Value; }
  void write_text(const std::string& text) { out_ << YAML::DoubleQuoted << unexpanded(text); }

  YAML::Emitter out_;
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
