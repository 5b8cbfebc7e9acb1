// Logging: a fixed event word and key=value pairs on standard error, one line a record.
//
// INFO is for changes of state, never for single events of a stream. Values with blanks are quoted.
//   log_info("stream_opened", {{"tenant", id}, {"attempt", "3"}});
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace headgate {

struct LogField {
  std::string_view key;
  std::string value;
  bool literal = false;  // a number or a truth value, which JSON has without quotes

  template <typename T>
  LogField(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {
    if constexpr (std::is_floating_point_v<T>) {
      literal = std::isfinite(v);
    } else {
      literal = std::is_arithmetic_v<T> && !std::is_same_v<T, char>;
    }
  }
};
using LogFields = std::initializer_list<LogField>;

// level: trace, debug, info, warn, error, off. format: text or json. False for an unknown word; nothing is changed
// then.
bool configure_logging(std::string_view level, std::string_view format);

void log_debug(std::string_view event, LogFields fields = {});
void log_info(std::string_view event, LogFields fields = {});
void log_warn(std::string_view event, LogFields fields = {});
void log_error(std::string_view event, LogFields fields = {});

// The last record of a process that can do no more: takes no memory and no lock, so that a signal handler may call it.
// Neither text may need escaping.
void log_last_words(const char* event, const char* why);

}  // namespace headgate
