// Declarative settings: one describe function for each plain struct serves the YAML file, the environment, checking,
// printing and the reference table.
//
//   void describe(Settings& s, PoolSettings& pool) {
//     s.secret("uri", pool.uri, "where the database is");
//     s.integer("max_connections", pool.connections_max, "connections of this process", 1, 1000);
//     s.duration("connect_timeout", pool.connect_timeout, "time allowed for one attempt");
//     s.require(pool.connections_max > 1, "max_connections", "the feed keeps one connection for itself");
//   }
//   Status status = load_settings([&](Settings& s) { describe(s, pool); }, {.file = path, .env_prefix = "HEADGATE"});
//
// Order: default < YAML < environment. The environment variable of key a.b is PREFIX_A_B, of the second element of a
// list of sections PREFIX_SINKS_1_KIND. Values: `${NAME}` stands for a variable of the environment (`$${` for a plain
// `${`); a secret may be `file:/path`, which is the text of that file without the newline at its end. For every text,
// secret and list PREFIX_A_B_FILE may name a file that holds the value, of a list one item a line.
// Faults (unknown and duplicate keys, values that do not parse, unmet requirements) are collected, with their file and
// line, and reported together. Not thread-safe; used while a program starts.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/status.h"

namespace headgate {

// How values look as text. "1h30m", "250ms"; "16MiB", "10MB", "512".
StatusOr<std::chrono::nanoseconds> parse_duration(std::string_view text);
std::string format_duration(std::chrono::nanoseconds value);
StatusOr<uint64_t> parse_bytes(std::string_view text);
std::string format_bytes(uint64_t value);
StatusOr<bool> parse_bool(std::string_view text);
StatusOr<int64_t> parse_integer(std::string_view text, int64_t min, int64_t max);
StatusOr<double> parse_real(std::string_view text, double min, double max);

// The nearest of `known`, empty when none is near enough to be meant.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

// One value as the readers and printers see it.
struct SettingsField {
  std::string_view key;
  std::string_view help;
  std::string type;  // for people: "duration", "one of none|preshared"
  bool secret = false;
  std::function<std::string()> get;
  std::function<Status(const std::string&)> set;
};

class Settings {
 public:
  using Words = std::vector<std::string>;

  virtual ~Settings() = default;

  void text(std::string_view key, std::string& value, std::string_view help);
  // Masked when printed; may come from a file.
  void secret(std::string_view key, std::string& value, std::string_view help);
  void flag(std::string_view key, bool& value, std::string_view help);
  // A text that must be one of `words`.
  void choice(std::string_view key, std::string& value, const Words& words, std::string_view help);
  // The same for an enum.
  template <typename E>
  void choice(std::string_view key, E& value, const std::vector<std::pair<std::string, E>>& words,
              std::string_view help);
  template <typename T>
  void integer(std::string_view key, T& value, std::string_view help, T min = std::numeric_limits<T>::min(),
               T max = std::numeric_limits<T>::max());
  void real(std::string_view key, double& value, std::string_view help, double min = 0, double max = 1e300);
  // Negative durations do not exist; finer text than the type holds is an error.
  template <typename Rep, typename Period>
  void duration(std::string_view key, std::chrono::duration<Rep, Period>& value, std::string_view help,
                std::chrono::nanoseconds min = {}, std::chrono::nanoseconds max = std::chrono::hours(24 * 3650));
  template <typename T>
  void bytes(std::string_view key, T& value, std::string_view help, uint64_t min = 0,
             uint64_t max = std::numeric_limits<T>::max());
  // A YAML list, or words with commas between them; in the environment as well.
  virtual void list(std::string_view key, std::vector<std::string>& value, std::string_view help) = 0;
  virtual void secret_list(std::string_view key, std::vector<std::string>& value, std::string_view help) = 0;
  // A YAML map, or name=value with commas between them. Values whose name sounds like a secret are masked.
  virtual void map(std::string_view key, std::map<std::string, std::string>& value, std::string_view help) = 0;

  // A nested struct; `body()` describes it with the same Settings.
  template <typename Body>
  void section(std::string_view key, Body&& body) {
    if (!enter(key)) return;
    body();
    leave();
  }
  // A list of structs; `describe(Settings&, T&)` describes one. What the file or environment names is added to, or
  // laid over, what is there.
  template <typename T, typename Describe>
  void sections(std::string_view key, std::vector<T>& value, Describe&& describe);

  // Whether rules are heeded, for those that cost something to find out.
  virtual bool checks() const { return false; }
  // A rule over several values, after they are described. `key` is where it is reported, in the current section.
  virtual void require(bool holds, std::string_view key, std::string_view text) {}
  // The same for a rule that is checked elsewhere: the message of what is not OK is its text.
  void require(const Status& status, std::string_view key) { require(status.ok(), key, message_of(status)); }

 protected:
  virtual void field(const SettingsField& field) = 0;
  virtual bool enter(std::string_view key) = 0;
  virtual void leave() = 0;
  // How many elements the list has when all sources are counted; `present` are there already.
  virtual size_t enter_list(std::string_view key, size_t present) = 0;
  virtual void enter_element(size_t index) = 0;
  virtual void leave_list() = 0;
};

struct SettingsSource {
  std::string file;                                // empty: no file
  std::string env_prefix;                          // "HEADGATE_ENGINE"
  std::map<std::string, std::string> environment;  // see process_environment()
};

using DescribeSettings = std::function<void(Settings&)>;

std::map<std::string, std::string> process_environment();

// Fills what `describe` binds. INVALID_ARGUMENT with one fault a line. `warnings` (may be null) receives variables that
// have the prefix but belong to no key; they are no errors because clusters inject variables named after services.
Status load_settings(const DescribeSettings& describe, const SettingsSource& source,
                     std::vector<std::string>* warnings = nullptr);
// The same from text instead of a file; `name` stands in messages.
Status load_settings_text(const DescribeSettings& describe, const std::string& name, const std::string& yaml,
                          const SettingsSource& source, std::vector<std::string>* warnings = nullptr);

// The settings in force as YAML, secrets masked, also passwords inside of URIs.
std::string print_settings(const DescribeSettings& describe);

// A Markdown table: key, environment variable, type, default, meaning.
std::string settings_reference(const DescribeSettings& describe, const std::string& env_prefix);

// "postgres://u:p@h/d" -> "postgres://***@h/d"; also password=... anywhere.
std::string mask_secrets(std::string text);

template <typename E>
void Settings::choice(std::string_view key, E& value, const std::vector<std::pair<std::string, E>>& words,
                      std::string_view help) {
  Words names;
  std::string word;
  for (const auto& [name, meaning] : words) {
    names.push_back(name);
    if (meaning == value) word = name;
  }
  const std::string before = word;
  choice(key, word, names, help);
  if (word == before) return;
  for (const auto& [name, meaning] : words) {
    if (name == word) value = meaning;
  }
}

template <typename T>
void Settings::integer(std::string_view key, T& value, std::string_view help, T min, T max) {
  static_assert(std::is_integral_v<T> && !std::is_same_v<T, bool>);
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  const auto top = static_cast<int64_t>(static_cast<uint64_t>(max) > kMost ? kMost : static_cast<uint64_t>(max));
  field({key, help, "integer", false, [&value] { return fmt::format("{}", value); },
         [&value, min, top](const std::string& text) -> Status {
           StatusOr<int64_t> parsed = parse_integer(text, static_cast<int64_t>(min), top);
           if (parsed.ok()) value = static_cast<T>(*parsed);
           return parsed.status();
         }});
}

template <typename Rep, typename Period>
void Settings::duration(std::string_view key, std::chrono::duration<Rep, Period>& value, std::string_view help,
                        std::chrono::nanoseconds min, std::chrono::nanoseconds max) {
  using Type = std::chrono::duration<Rep, Period>;
  field({key, help, "duration", false, [&value] { return format_duration(value); },
         [&value, min, max](const std::string& text) -> Status {
           StatusOr<std::chrono::nanoseconds> parsed = parse_duration(text);
           if (!parsed.ok()) return parsed.status();
           if (*parsed < min || *parsed > max) {
             return invalid_argument("'{}' is not between {} and {}", text, format_duration(min), format_duration(max));
           }
           const Type rounded = std::chrono::duration_cast<Type>(*parsed);
           if (std::chrono::nanoseconds(rounded) != *parsed) {
             return invalid_argument("'{}' is finer than {}", text, format_duration(Type(1)));
           }
           value = rounded;
           return ok_status();
         }});
}

template <typename T>
void Settings::bytes(std::string_view key, T& value, std::string_view help, uint64_t min, uint64_t max) {
  static_assert(std::is_integral_v<T>);
  field({key, help, "bytes", false, [&value] { return format_bytes(static_cast<uint64_t>(value)); },
         [&value, min, max](const std::string& text) -> Status {
           StatusOr<uint64_t> parsed = parse_bytes(text);
           if (!parsed.ok()) return parsed.status();
           if (*parsed < min || *parsed > max) {
             return invalid_argument("'{}' is not between {} and {}", text, format_bytes(min), format_bytes(max));
           }
           value = static_cast<T>(*parsed);
           return ok_status();
         }});
}

template <typename T, typename Describe>
void Settings::sections(std::string_view key, std::vector<T>& value, Describe&& describe) {
  const size_t count = enter_list(key, value.size());
  if (count > value.size()) value.resize(count);
  for (size_t i = 0; i < value.size(); ++i) {
    enter_element(i);
    describe(*this, value[i]);
    leave();
  }
  leave_list();
}

}  // namespace headgate
