#include "tests/fuzz/properties.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_replace.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "base/log.h"
#include "base/settings_walk.h"
#include "tests/fuzz/input.h"

namespace headgate::fuzz {

namespace {

// Collects the secrets that are set, as the variables that would set them. What is printed holds a mask in their
// places, which need not be a value that its setting takes.
class Secrets : public SettingsWalk {
 public:
  explicit Secrets(const std::string& prefix) { enter(prefix); }
  std::map<std::string, std::string> take() { return std::move(variables_); }

  void list(std::string_view, std::vector<std::string>&, std::string_view) override {}
  void secret_list(std::string_view, std::vector<std::string>&, std::string_view) override {}
  void map(std::string_view, std::map<std::string, std::string>&, std::string_view) override {}

 protected:
  void field(const SettingsField& field) override {
    if (!field.secret || field.get().empty()) return;
    const std::string name = fmt::format("{}_{}", fmt::join(words(), "_"), field.key);
    variables_.emplace(absl::AsciiStrToUpper(name), absl::StrReplaceAll(field.get(), {{"${", "$${"}}));
  }

 private:
  std::map<std::string, std::string> variables_;
};

}  // namespace

void be_quiet() {
  configure_logging("off", "text");
  google::protobuf::SetLogHandler(nullptr);
}

void demand_refusal(const Status& status, std::initializer_list<StatusCode> codes) {
  demand(std::find(codes.begin(), codes.end(), status.code()) != codes.end(), "refused with {}", describe(status));
  demand(!status.message().empty(), "refused without a text");
  demand(is_utf8(message_of(status)), "the text of a refusal is no UTF-8: {}", message_of(status));
}

void demand_equal(const google::protobuf::Message& a, const google::protobuf::Message& b, std::string_view what) {
  google::protobuf::util::MessageDifferencer differencer;
  // A NaN is the same value on both sides.
  google::protobuf::util::DefaultFieldComparator comparator;
  comparator.set_treat_nan_as_equal(true);
  differencer.set_field_comparator(&comparator);
  demand(differencer.Compare(a, b), "{} differ:\n{}\n{}", what, a.ShortDebugString(), b.ShortDebugString());
}

std::vector<std::string> read_array_literal(std::string_view text) {
  demand(text.size() >= 2 && text.front() == '{' && text.back() == '}', "no array literal: {}", text);
  text = text.substr(1, text.size() - 2);
  std::vector<std::string> items;
  size_t at = 0;
  while (at < text.size()) {
    demand(text[at] == '"', "an array element without quotes: {}", text);
    std::string item;
    for (++at; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\') ++at;
      demand(at < text.size(), "an array literal ends behind a backslash: {}", text);
      item += text[at];
    }
    demand(at < text.size(), "an array element is not closed: {}", text);
    items.push_back(std::move(item));
    if (++at == text.size()) break;
    demand(text[at] == ',' && at + 1 < text.size(), "array elements without a comma between them: {}", text);
    ++at;
  }
  return items;
}

void demand_settings_round_trip(std::string_view input, const std::string& prefix, const WithFreshSettings& fresh) {
  const std::pair<std::string_view, std::string_view> parts = split_at_mark(input);
  const std::string yaml(parts.second);
  SettingsSource source;
  source.env_prefix = prefix;
  for (Input lines(parts.first); !lines.at_end();) {
    const std::string line(lines.line());
    const size_t equals = line.find('=');
    if (equals != std::string::npos) source.environment.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  // Secrets may name a file, and a target reads none.
  if (input.find("file:") != std::string_view::npos) return;
  std::string printed;
  SettingsSource again{"", prefix, {}};
  fresh([&](const DescribeSettings& describe) {
    std::vector<std::string> warnings;
    const Status status = load_settings_text(describe, "input", yaml, source, &warnings);
    if (!status.ok()) {
      demand(status.code() == StatusCode::kInvalidArgument && !status.message().empty(), "refused with {}",
             headgate::describe(status));
      return;
    }
    printed = print_settings(describe);
    Secrets secrets(prefix);
    describe(secrets);
    again.environment = secrets.take();
  });
  if (printed.empty()) return;
  fresh([&](const DescribeSettings& describe) {
    const Status status = load_settings_text(describe, "printed", printed, again);
    demand(status.ok(), "what was printed does not load: {}\n{}", headgate::describe(status), printed);
    demand(print_settings(describe) == printed, "printed twice, and different:\n{}\n{}", printed,
           print_settings(describe));
  });
}

}  // namespace headgate::fuzz
