#include "base/postgres/array_text.h"

#include <fmt/format.h>

namespace headgate {

std::string array_text(std::span<const std::string> items) {
  std::string text = "{";
  for (const std::string& item : items) {
    if (text.size() > 1) text += ',';
    text += '"';
    for (const char c : item) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  return text + "}";
}

std::string array_text(std::span<const uint64_t> items) { return fmt::format("{{{}}}", fmt::join(items, ",")); }

}  // namespace headgate
