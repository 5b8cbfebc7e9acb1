#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>

namespace headgate {

namespace {

std::atomic<bool> json_format{false};

spdlog::logger& logger() {
  static std::shared_ptr<spdlog::logger> instance = [] {
    auto made = spdlog::stderr_logger_mt("headgate");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %^%l%$ %v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

void append_json(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_text(std::string& out, std::string_view text) {
  const bool plain = !text.empty() && text.find_first_of(" \"\n\r\t=") == std::string_view::npos;
  if (plain) {
    out += text;
  } else {
    append_json(out, text);
  }
}

void write(spdlog::level::level_enum level, std::string_view event, LogFields fields) {
  if (!logger().should_log(level)) return;
  const bool json = json_format.load(std::memory_order_relaxed);
  std::string line;
  if (json) {
    line += "\"event\":";
    append_json(line, event);
  } else {
    line += event;
  }
  for (const LogField& field : fields) {
    if (json) {
      line += ',';
      append_json(line, field.key);
      line += ':';
      append_json(line, field.value);
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
  if (json_format) {
    logger().set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l",%v})");
  }
  return true;
}

void log_debug(std::string_view event, LogFields fields) { write(spdlog::level::debug, event, fields); }
void log_info(std::string_view event, LogFields fields) { write(spdlog::level::info, event, fields); }
void log_warn(std::string_view event, LogFields fields) { write(spdlog::level::warn, event, fields); }
void log_error(std::string_view event, LogFields fields) { write(spdlog::level::err, event, fields); }

}  // namespace headgate
