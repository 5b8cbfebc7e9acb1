#include "engine/schema/source.h"

#include "engine/model/errors.h"

namespace headgate::engine {
namespace {

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the well-formed sequence that starts at `at`, 0 when there is none.
size_t sequence_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
  const unsigned char first = byte(at);
  if (first < 0x80) return first == 0 ? 0 : 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(byte(at + i))) return 0;
  }
  const unsigned char second = byte(at + 1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return length;
}

}  // namespace

std::string position_in(std::string_view text, size_t offset) {
  size_t line = 1;
  size_t column = 1;
  for (size_t i = 0; i < offset && i < text.size(); ++i) {
    const bool ends_line = text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n'));
    if (ends_line) {
      ++line;
      column = 1;
    } else if (!is_continuation(static_cast<unsigned char>(text[i]))) {
      ++column;
    }
  }
  return fmt::format("{}:{}", line, column);
}

Status to_status(const Fault& fault) {
  if (fault.place.source == nullptr) return api_error(fault.code, fault.text);
  const Source& source = *fault.place.source;
  const std::string position = position_in(source.text, fault.place.offset);
  const std::string_view gap = source.label.empty() ? "" : " ";
  return api_error(fault.code, fmt::format("{}{}{}: {}", source.label, gap, position, fault.text));
}

size_t find_unreadable(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = sequence_length(text, i);
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

}  // namespace headgate::engine
