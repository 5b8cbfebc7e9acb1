// Words of the schema language. Blanks and comments are skipped; a line break is a word of its own.
#pragma once

#include <string>
#include <string_view>

#include "engine/schema/source.h"

namespace headgate::engine {

enum class TokenKind {
  kEnd,
  kNewline,  // LF, CR or ';', each by itself: CRLF makes two
  kName,
  kEntity,
  kRule,
  kRelation,
  kAttribute,
  kPermission,  // "permission" or "action"
  kAnd,
  kOr,
  kNot,
  kOtherKeyword,  // in, true, false
  kNumber,
  kString,
  kSymbol,  // one character
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string_view text;
  size_t offset = 0;

  bool is_symbol(char c) const { return kind == TokenKind::kSymbol && text.size() == 1 && text[0] == c; }
};

// "the end of the line", "the keyword 'entity'", "'{'".
std::string describe(const Token& token);

class Lexer {
 public:
  // The text outlives the lexer.
  explicit Lexer(std::string_view text, size_t offset = 0) : text_(text), at_(offset) {}

  Token next();
  // Behind the last token.
  size_t offset() const { return at_; }

 private:
  void skip_blanks_and_comments();
  Token take(TokenKind kind, size_t length);
  Token word();
  size_t string_length() const;
  size_t number_length() const;

  std::string_view text_;
  size_t at_ = 0;
};

inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace headgate::engine
