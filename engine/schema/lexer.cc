#include "engine/schema/lexer.h"

#include <array>

namespace headgate::engine {
namespace {

constexpr std::array<std::pair<std::string_view, TokenKind>, 12> kKeywords{{{"entity", TokenKind::kEntity},
                                                                            {"rule", TokenKind::kRule},
                                                                            {"relation", TokenKind::kRelation},
                                                                            {"attribute", TokenKind::kAttribute},
                                                                            {"permission", TokenKind::kPermission},
                                                                            {"action", TokenKind::kPermission},
                                                                            {"and", TokenKind::kAnd},
                                                                            {"or", TokenKind::kOr},
                                                                            {"not", TokenKind::kNot},
                                                                            {"in", TokenKind::kOtherKeyword},
                                                                            {"true", TokenKind::kOtherKeyword},
                                                                            {"false", TokenKind::kOtherKeyword}}};

size_t code_point_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
}

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd: return "the end of the text";
    case TokenKind::kNewline: return token.text == ";" ? "';'" : "the end of the line";
    case TokenKind::kName:
    case TokenKind::kNumber:
    case TokenKind::kSymbol: return fmt::format("'{}'", token.text.substr(0, 64));
    case TokenKind::kString: return "a text in double quotes";
    default: return fmt::format("the keyword '{}'", token.text);
  }
}

Token Lexer::next() {
  skip_blanks_and_comments();
  if (at_ >= text_.size()) return {TokenKind::kEnd, text_.substr(text_.size()), text_.size()};
  const char c = text_[at_];
  if (c == '\n' || c == '\r' || c == ';') return take(TokenKind::kNewline, 1);
  if (is_letter(c)) return word();
  if (is_digit(c)) return take(TokenKind::kNumber, number_length());
  if (c == '"') return take(TokenKind::kString, string_length());
  return take(TokenKind::kSymbol, std::min(code_point_length(c), text_.size() - at_));
}

void Lexer::skip_blanks_and_comments() {
  while (at_ < text_.size()) {
    if (text_[at_] == ' ' || text_[at_] == '\t') {
      ++at_;
    } else if (text_.compare(at_, 2, "//") == 0) {
      at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
    } else if (text_.compare(at_, 2, "/*") == 0) {
      const size_t end = text_.find("*/", at_ + 2);
      at_ = end == std::string_view::npos ? text_.size() : end + 2;
    } else {
      return;
    }
  }
}

Token Lexer::take(TokenKind kind, size_t length) {
  const Token token{kind, text_.substr(at_, length), at_};
  at_ += length;
  return token;
}

Token Lexer::word() {
  size_t end = at_;
  while (end < text_.size() && is_letter(text_[end])) ++end;
  const std::string_view text = text_.substr(at_, end - at_);
  for (const auto& [keyword, kind] : kKeywords) {
    if (keyword == text) return take(kind, text.size());
  }
  return take(TokenKind::kName, text.size());
}

size_t Lexer::string_length() const {
  size_t end = at_ + 1;
  while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
  return std::min(end + 1, text_.size()) - at_;
}

size_t Lexer::number_length() const {
  size_t end = at_;
  bool seen_dot = false;
  while (end < text_.size() && (is_digit(text_[end]) || (!seen_dot && text_[end] == '.'))) {
    seen_dot = seen_dot || text_[end] == '.';
    ++end;
  }
  return end - at_;
}

}  // namespace headgate::engine
