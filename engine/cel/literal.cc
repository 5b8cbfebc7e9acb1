#include "engine/cel/literal.h"

namespace headgate::engine::cel {
namespace {

struct Shape {
  bool bytes = false;
  bool raw = false;
  size_t prefix = 0;
  size_t quotes = 0;  // 1 or 3; 0 = no literal
  char quote = 0;
};

Shape shape_of(std::string_view text) {
  Shape shape;
  const auto at = [&](size_t i) { return i < text.size() ? text[i] : '\0'; };
  if (at(0) == 'b' || at(0) == 'B') {
    shape.bytes = true;
    shape.prefix = 1;
  }
  if (at(shape.prefix) == 'r' || at(shape.prefix) == 'R') {
    shape.raw = true;
    ++shape.prefix;
  }
  shape.quote = at(shape.prefix);
  if (shape.quote != '\'' && shape.quote != '"') return shape;
  shape.quotes = at(shape.prefix + 1) == shape.quote && at(shape.prefix + 2) == shape.quote ? 3 : 1;
  return shape;
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

std::optional<uint32_t> read_digits(std::string_view text, size_t at, size_t count, int base) {
  if (at + count > text.size()) return std::nullopt;
  uint32_t value = 0;
  for (size_t i = at; i < at + count; ++i) {
    const int digit = digit_of(text[i]);
    if (digit >= base) return std::nullopt;
    value = value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
  }
  return value;
}

bool is_scalar(uint32_t code_point) { return code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF); }

// Reads the escapes between the quotes of a literal that is not raw.
class Unescape {
 public:
  Unescape(std::string_view text, bool bytes) : text_(text), bytes_(bytes) {}

  std::optional<std::string> run() {
    while (at_ < text_.size()) {
      if (text_[at_] != '\\') {
        out_ += text_[at_++];
      } else if (!escape()) {
        return std::nullopt;
      }
    }
    return std::move(out_);
  }

 private:
  bool escape() {
    constexpr std::string_view kNames = "abfnrtv\\?\"'`";
    constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\?\"'`";
    if (at_ + 1 >= text_.size()) return false;
    const char name = text_[at_ + 1];
    if (const size_t i = kNames.find(name); i != std::string_view::npos) {
      out_ += kValues[i];
      at_ += 2;
      return true;
    }
    switch (name) {
      case 'x':
      case 'X': return number(2, 2, 16);
      case 'u': return !bytes_ && number(2, 4, 16);
      case 'U': return !bytes_ && number(2, 8, 16);
      case '0':
      case '1':
      case '2':
      case '3': return number(1, 3, 8);
      default: return false;
    }
  }

  bool number(size_t skip, size_t count, int base) {
    const auto value = read_digits(text_, at_ + skip, count, base);
    if (!value || !is_scalar(*value)) return false;
    at_ += skip + count;
    if (bytes_) {
      out_ += static_cast<char>(*value);
    } else {
      append_utf8(out_, *value);
    }
    return true;
  }

  std::string_view text_;
  bool bytes_;
  size_t at_ = 0;
  std::string out_;
};

// Line breaks inside a literal count as LF, however the file writes them.
std::string normalize_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      out += '\n';
    }
  }
  return out;
}

// REQUIRES: well-formed UTF-8, `at` on a first byte. Moves `at` behind the sequence.
uint32_t take_code_point(std::string_view text, size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  if (first < 0x80) return first;
  uint32_t value = first >= 0xF0 ? first & 0x07 : first >= 0xE0 ? first & 0x0F : first & 0x1F;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) {
    value = value << 6 | (static_cast<unsigned char>(text[at++]) & 0x3F);
  }
  return value;
}

std::string quote_one(uint32_t value, char next) {
  const bool opens_comment = value == '/' && (next == '/' || next == '*');
  const bool is_special = value == '\'' || value == '\\' || value == '"' || value == '}';
  if (value > 0xFFFF) return fmt::format("\\U{:08x}", value);
  if (value > 0xFF) return fmt::format("\\u{:04x}", value);
  if (value < 0x20 || value > 0x7E || is_special || opens_comment) return fmt::format("\\x{:02x}", value);
  return std::string(1, static_cast<char>(value));
}

}  // namespace

void append_utf8(std::string& out, uint32_t code_point) {
  const auto add = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    add(code_point);
  } else if (code_point < 0x800) {
    add(0xC0 | code_point >> 6);
    add(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    add(0xE0 | code_point >> 12);
    add(0x80 | (code_point >> 6 & 0x3F));
    add(0x80 | (code_point & 0x3F));
  } else {
    add(0xF0 | code_point >> 18);
    add(0x80 | (code_point >> 12 & 0x3F));
    add(0x80 | (code_point >> 6 & 0x3F));
    add(0x80 | (code_point & 0x3F));
  }
}

size_t text_literal_length(std::string_view text) {
  const Shape shape = shape_of(text);
  if (shape.quotes == 0) return 0;
  const std::string end(shape.quotes, shape.quote);
  for (size_t at = shape.prefix + shape.quotes; at < text.size(); ++at) {
    if (text.compare(at, end.size(), end) == 0) return at + end.size();
    if (shape.quotes == 1 && (text[at] == '\n' || text[at] == '\r')) break;
    if (text[at] == '\\' && !shape.raw) ++at;
  }
  return std::string_view::npos;
}

std::optional<TextLiteral> decode_text_literal(std::string_view token) {
  const Shape shape = shape_of(token);
  const size_t begin = shape.prefix + shape.quotes;
  const std::string text = normalize_newlines(token.substr(begin, token.size() - begin - shape.quotes));
  if (shape.raw) return TextLiteral{shape.bytes, text};
  auto value = Unescape(text, shape.bytes).run();
  if (!value) return std::nullopt;
  return TextLiteral{shape.bytes, std::move(*value)};
}

std::string quote(const TextLiteral& literal) {
  std::string out = literal.bytes ? "b'" : "'";
  for (size_t at = 0; at < literal.value.size();) {
    const uint32_t value =
        literal.bytes ? static_cast<unsigned char>(literal.value[at++]) : take_code_point(literal.value, at);
    out += quote_one(value, at < literal.value.size() ? literal.value[at] : '\0');
  }
  return out + "'";
}

}  // namespace headgate::engine::cel
