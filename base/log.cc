#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>

#include "base/json_text.h"

namespace headgate {

namespace {

constexpr const char* kTextPattern = "%Y-%m-%dT%H:%M:%S.%f%z %^%l%$ %v";
constexpr const char* kJsonPattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l",%v})";

std::atomic<bool> json_format{false};

spdlog::logger& logger() {
  static std::shared_ptr<spdlog::logger> instance = [] {
    auto made = spdlog::stderr_logger_mt("headgate");
    made->set_pattern(kTextPattern);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

void append_text(std::string& out, std::string_view text) {
  const bool plain = !text.empty() && text.find_first_of(" \"\n\r\t=") == std::string_view::npos;
  if (plain) {
    out += text;
  } else {
    append_json_text(out, text);
  }
}

void write(spdlog::level::level_enum level, std::string_view event, LogFields fields) {
  if (!logger().should_log(level)) return;
  const bool json = json_format.load(std::memory_order_relaxed);
  std::string line;
  if (json) {
    line += "\"event\":";
    append_json_text(line, event);
  } else {
    line += event;
  }
  for (const LogField& field : fields) {
    if (json) {
      line += ',';
      append_json_text(line, field.key);
      line += ':';
      if (field.literal) {
        line += field.value;
      } else {
        append_json_text(line, field.value);
      }
    } else {
      line += ' ';
      line += field.key;
      line += '=';
      append_text(line, field.value);
    }
  }
  logger().log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

bool configure_logging(std::string_view level, std::string_view format) {
  const auto parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off") return false;
  if (format != "text" && format != "json") return false;
  logger().set_level(parsed);
  json_format = format == "json";
  logger().set_pattern(json_format ? kJsonPattern : kTextPattern);
  return true;
}

void log_debug(std::string_view event, LogFields fields) { write(spdlog::level::debug, event, fields); }
void log_info(std::string_view event, LogFields fields) { write(spdlog::level::info, event, fields); }
void log_warn(std::string_view event, LogFields fields) { write(spdlog::level::warn, event, fields); }
void log_error(std::string_view event, LogFields fields) { write(spdlog::level::err, event, fields); }

void log_last_words(const char* event, const char* why) {
  using std::chrono::floor;
  const auto now = std::chrono::system_clock::now();
  const auto day = floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(floor<std::chrono::microseconds>(now - day));
  const char* const form = json_format ? R"({"time":"%04d-%02u-%02uT%02d:%02d:%02d.%06d+00:00","level":"error",)"
                                         R"("event":"%s","why":"%s"})"
                                         "\n"
                                       : "%04d-%02u-%02uT%02d:%02d:%02d.%06d+00:00 error %s why=\"%s\"\n";
  char line[1024];
  const int size =
      std::snprintf(line, sizeof(line), form, static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                    static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                    static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
                    static_cast<int>(time.subseconds().count()), event, why);
  if (size > 0) (void)!::write(STDERR_FILENO, line, std::min<size_t>(static_cast<size_t>(size), sizeof(line) - 1));
}

}  // namespace headgate
