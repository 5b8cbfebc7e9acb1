#include "tests/fuzz/input.h"

#include <charconv>

#include "engine/schema/source.h"

namespace headgate::fuzz {

std::string_view Input::line() {
  const size_t end = rest_.find('\n');
  const std::string_view line = rest_.substr(0, end);
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  return line;
}

uint64_t Input::number() {
  const std::string_view text = line();
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : 0;
}

std::pair<std::string_view, std::string_view> split_at_mark(std::string_view input) {
  Input lines(input);
  while (!lines.at_end()) {
    const size_t before = input.size() - lines.rest().size();
    if (lines.line() == "%%") return {input.substr(0, before), lines.rest()};
  }
  return {{}, input};
}

std::vector<Part> parts_of(std::string_view input) {
  std::vector<Part> parts{{}};
  size_t begin = 0;
  Input lines(input);
  while (!lines.at_end()) {
    const size_t before = input.size() - lines.rest().size();
    const std::string_view line = lines.line();
    if (line.substr(0, 3) != "%% ") continue;
    parts.back().text = input.substr(begin, before - begin);
    begin = input.size() - lines.rest().size();
    parts.push_back({line.substr(3), {}});
  }
  parts.back().text = input.substr(begin);
  return parts;
}

bool is_utf8(std::string_view text) {
  for (size_t bad = 0; !text.empty(); text.remove_prefix(bad + 1)) {
    bad = engine::find_unreadable(text);
    if (bad == std::string_view::npos) return true;
    if (text[bad] != '\0') return false;
  }
  return true;
}

}  // namespace headgate::fuzz
