#include "base/json_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace headgate {

void append_json_text(std::string& out, std::string_view text) {
  // Most texts are; each event has dozens of them.
  const auto is_plain = [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; };
  if (std::all_of(text.begin(), text.end(), is_plain)) {
    out += '"';
    out += text;
    out += '"';
    return;
  }
  out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace headgate
