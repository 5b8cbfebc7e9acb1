#include "sinks/encoding/names.h"

#include <algorithm>
#include <array>

namespace headgate::sinks {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";
constexpr char kEmptyMark = 'z';  // no hex digit

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

char escape_of(NameTarget target) { return target == NameTarget::kKafka ? '_' : '%'; }

bool is_plain(NameTarget target, char c) {
  if (is_alphanumeric(c)) return true;
  switch (target) {
    case NameTarget::kRaw: return true;
    case NameTarget::kKafka: return c == '-';
    case NameTarget::kNats: return std::string_view("_-@:+").find(c) != std::string_view::npos;
    case NameTarget::kRedis: return std::string_view("_-@.+").find(c) != std::string_view::npos;
  }
  return false;
}

void append_escaped(std::string& out, char escape, char c) {
  const auto byte = static_cast<unsigned char>(c);
  out += escape;
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

// The byte of two upper-case hex digits, or -1.
int byte_of(std::string_view digits) {
  if (digits.size() < 2) return -1;
  const size_t high = kHex.find(digits[0]);
  const size_t low = kHex.find(digits[1]);
  if (high == std::string_view::npos || low == std::string_view::npos) return -1;
  return static_cast<int>(high * 16 + low);
}

// By byte: every character of every header is looked up here.
constexpr auto kEscapedInHeader = [] {
  std::array<bool, 256> escaped{};
  for (int c = 0; c < 256; ++c) escaped[c] = c <= ' ' || c >= 0x7f || c == '%' || c == '"';
  return escaped;
}();

bool needs_escape_in_header(char c) { return kEscapedInHeader[static_cast<unsigned char>(c)]; }

}  // namespace

std::string encode_name(NameTarget target, std::string_view name) {
  if (target == NameTarget::kRaw) return std::string(name);
  if (name.empty()) return {escape_of(target), kEmptyMark};
  std::string out;
  out.reserve(name.size() + 8);
  for (const char c : name) {
    if (is_plain(target, c)) {
      out += c;
    } else {
      append_escaped(out, escape_of(target), c);
    }
  }
  return out;
}

StatusOr<std::string> decode_name(NameTarget target, std::string_view text) {
  if (target == NameTarget::kRaw) return std::string(text);
  const char escape = escape_of(target);
  if (text.size() == 2 && text[0] == escape && text[1] == kEmptyMark) return std::string();
  if (text.empty()) return invalid_argument("an encoded name is never empty");
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_plain(target, text[i])) {
      out += text[i];
      continue;
    }
    const int byte = text[i] == escape ? byte_of(text.substr(i + 1)) : -1;
    if (byte < 0 || is_plain(target, static_cast<char>(byte))) {
      return invalid_argument("not an encoded name, see byte {} of '{}'", i, text);
    }
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

bool is_name_character(NameTarget target, char c) { return is_plain(target, c) || c == escape_of(target); }

void append_header_value(std::string& out, std::string_view value) {
  if (std::none_of(value.begin(), value.end(), [](char c) { return needs_escape_in_header(c); })) {
    out += value;
    return;
  }
  for (const char c : value) {
    if (needs_escape_in_header(c)) {
      append_escaped(out, '%', c);
    } else {
      out += c;
    }
  }
}

std::string encode_header_value(std::string_view value) {
  std::string out;
  append_header_value(out, value);
  return out;
}

std::string decode_header_value(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const int byte = text[i] == '%' ? byte_of(text.substr(i + 1)) : -1;
    out += byte < 0 ? text[i] : static_cast<char>(byte);
    if (byte >= 0) i += 2;
  }
  return out;
}

}  // namespace headgate::sinks
