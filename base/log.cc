#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>

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

}  // namespace headgate
