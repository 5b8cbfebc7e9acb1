// Words of the expression language.
#pragma once

#include <string>
#include <string_view>

namespace headgate::engine::cel {

enum class TokenKind { kEnd, kName, kEscapedName, kKeyword, kInt, kUint, kDouble, kText, kSymbol, kWrong };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string_view text;
  size_t offset = 0;

  bool is(std::string_view symbol) const {
    return (kind == TokenKind::kSymbol || kind == TokenKind::kKeyword) && text == symbol;
  }
  bool is_number() const { return kind == TokenKind::kInt || kind == TokenKind::kUint || kind == TokenKind::kDouble; }
};

// "the end of the rule", "'>='".
std::string describe(const Token& token);

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  Token next();

 private:
  Token take(TokenKind kind, size_t length);
  Token word();
  Token escaped_word();
  Token number();
  Token symbol();
  size_t digits(size_t at) const;

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace headgate::engine::cel
