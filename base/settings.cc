#include "base/settings.h"

#include <algorithm>

namespace headgate {

void Settings::text(std::string_view key, std::string& value, std::string_view help) {
  field({key, help, "text", false, [&value] { return value; },
         [&value](const std::string& text) {
           value = text;
           return ok_status();
         }});
}

void Settings::secret(std::string_view key, std::string& value, std::string_view help) {
  field({key, help, "secret", true, [&value] { return value; },
         [&value](const std::string& text) {
           value = text;
           return ok_status();
         }});
}

void Settings::flag(std::string_view key, bool& value, std::string_view help) {
  field({key, help, "true or false", false, [&value] { return std::string(value ? "true" : "false"); },
         [&value](const std::string& text) -> Status {
           StatusOr<bool> parsed = parse_bool(text);
           if (parsed.ok()) value = *parsed;
           return parsed.status();
         }});
}

void Settings::choice(std::string_view key, std::string& value, const Words& words, std::string_view help) {
  const std::string all = fmt::format("{}", fmt::join(words, ", "));
  field({key, help, "one of " + all, false, [&value] { return value; },
         [&value, &words, &all](const std::string& text) -> Status {
           if (std::find(words.begin(), words.end(), text) == words.end()) {
             return invalid_argument("'{}' is not one of {}", text, all);
           }
           value = text;
           return ok_status();
         }});
}

void Settings::real(std::string_view key, double& value, std::string_view help, double min, double max) {
  field({key, help, "number", false, [&value] { return fmt::format("{}", value); },
         [&value, min, max](const std::string& text) -> Status {
           StatusOr<double> parsed = parse_real(text, min, max);
           if (parsed.ok()) value = *parsed;
           return parsed.status();
         }});
}

}  // namespace headgate
