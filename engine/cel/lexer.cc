#include "engine/cel/lexer.h"

#include "engine/cel/literal.h"

namespace headgate::engine::cel {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f'; }

}  // namespace

std::string describe(const Token& token) {
  if (token.kind == TokenKind::kEnd) return "the end of the rule";
  size_t length = std::min<size_t>(token.text.size(), 64);
  // A character is shown whole or not at all.
  while (length < token.text.size() && (static_cast<unsigned char>(token.text[length]) & 0xC0) == 0x80) --length;
  return fmt::format("'{}'", token.text.substr(0, length));
}

Token Lexer::next() {
  while (at_ < text_.size() && (is_space(text_[at_]) || text_.compare(at_, 2, "//") == 0)) {
    at_ = is_space(text_[at_]) ? at_ + 1 : std::min(text_.find('\n', at_), text_.size());
  }
  if (at_ >= text_.size()) return {TokenKind::kEnd, {}, text_.size()};
  const size_t literal = text_literal_length(text_.substr(at_));
  if (literal == std::string_view::npos) return take(TokenKind::kWrong, 1);
  if (literal != 0) return take(TokenKind::kText, literal);
  const char c = text_[at_];
  if (is_letter(c)) return word();
  if (c == '`') return escaped_word();
  const bool starts_fraction = c == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]);
  if (is_digit(c) || starts_fraction) return number();
  return symbol();
}

Token Lexer::take(TokenKind kind, size_t length) {
  const Token token{kind, text_.substr(at_, length), at_};
  at_ += length;
  return token;
}

Token Lexer::word() {
  size_t end = at_;
  while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
  const std::string_view text = text_.substr(at_, end - at_);
  const bool keyword = text == "true" || text == "false" || text == "null" || text == "in";
  return take(keyword ? TokenKind::kKeyword : TokenKind::kName, text.size());
}

// A field whose name is no word: context.data.`content-type`.
Token Lexer::escaped_word() {
  constexpr std::string_view kOthers = "._-/ ";
  size_t end = at_ + 1;
  while (end < text_.size() &&
         (is_letter(text_[end]) || is_digit(text_[end]) || kOthers.find(text_[end]) != std::string_view::npos)) {
    ++end;
  }
  const bool closed = end < text_.size() && text_[end] == '`' && end > at_ + 1;
  return closed ? take(TokenKind::kEscapedName, end + 1 - at_) : take(TokenKind::kWrong, 1);
}

size_t Lexer::digits(size_t at) const {
  while (at < text_.size() && is_digit(text_[at])) ++at;
  return at;
}

Token Lexer::number() {
  const auto at = [&](size_t i) { return i < text_.size() ? text_[i] : '\0'; };
  const auto with_suffix = [&](size_t end) {
    const bool is_unsigned = at(end) == 'u' || at(end) == 'U';
    return take(is_unsigned ? TokenKind::kUint : TokenKind::kInt, end - at_ + (is_unsigned ? 1 : 0));
  };
  if (at(at_) == '0' && at(at_ + 1) == 'x' && is_hex(at(at_ + 2))) {
    size_t end = at_ + 2;
    while (is_hex(at(end))) ++end;
    return with_suffix(end);
  }
  size_t end = digits(at_);
  bool is_double = false;
  if (at(end) == '.' && is_digit(at(end + 1))) {
    is_double = true;
    end = digits(end + 1);
  }
  if (at(end) == 'e' || at(end) == 'E') {
    const size_t exponent = end + (at(end + 1) == '+' || at(end + 1) == '-' ? 2 : 1);
    if (is_digit(at(exponent))) {
      is_double = true;
      end = digits(exponent);
    }
  }
  return is_double ? take(TokenKind::kDouble, end - at_) : with_suffix(end);
}

Token Lexer::symbol() {
  for (const std::string_view two : {"==", "!=", "<=", ">=", "&&", "||"}) {
    if (text_.compare(at_, 2, two) == 0) return take(TokenKind::kSymbol, 2);
  }
  const bool known = std::string_view("<>[]{}().,-!?:+*/%").find(text_[at_]) != std::string_view::npos;
  if (known) return take(TokenKind::kSymbol, 1);
  size_t length = 1;
  while (at_ + length < text_.size() && (static_cast<unsigned char>(text_[at_ + length]) & 0xC0) == 0x80) ++length;
  return take(TokenKind::kWrong, length);
}

}  // namespace headgate::engine::cel
