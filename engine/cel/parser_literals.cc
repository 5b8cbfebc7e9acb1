// Literals of the parser.
#include <charconv>
#include <cstdlib>

#include "engine/cel/literal.h"
#include "engine/cel/parser.h"

namespace headgate::engine::cel {
namespace {

template <typename Int>
std::optional<Int> parse_integer(std::string_view digits, bool negative) {
  const bool hex = digits.substr(0, 2) == "0x";
  const std::string text = fmt::format("{}{}", negative ? "-" : "", hex ? digits.substr(2) : digits);
  Int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Too small a number is zero, too large a one is none.
std::optional<double> parse_double(std::string_view digits) {
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc()) return value;
  value = std::strtod(std::string(digits).c_str(), nullptr);
  if (value > 1) return std::nullopt;
  return value;
}

}  // namespace

bool Parser::parse_number(Node& out) {
  const size_t offset = token_.offset;
  const bool negative = token_.is("-");
  if (negative) advance();
  const Token number = token_;
  if (!number.is_number() || (negative && number.kind == TokenKind::kUint)) return fail_expected("a number after '-'");
  advance();
  out.expr = make(offset);
  auto& constant = *out.expr.mutable_const_expr();
  bool fits = false;
  if (number.kind == TokenKind::kDouble) {
    const auto value = parse_double(number.text);
    fits = value.has_value();
    constant.set_double_value(negative ? -value.value_or(0) : value.value_or(0));
  } else if (number.kind == TokenKind::kUint) {
    const auto value = parse_integer<uint64_t>(number.text.substr(0, number.text.size() - 1), false);
    fits = value.has_value();
    constant.set_uint64_value(value.value_or(0));
  } else {
    const auto value = parse_integer<int64_t>(number.text, negative);
    fits = value.has_value();
    constant.set_int64_value(value.value_or(0));
  }
  if (fits) return true;
  return fail(offset, fmt::format("the number {} does not fit into 64 bits", number.text.substr(0, 64)));
}

bool Parser::parse_text(Node& out) {
  auto literal = decode_text_literal(token_.text);
  if (!literal) return fail(token_.offset, "this text holds a wrong escape; a backslash is written as \\\\");
  out.expr = make(token_.offset);
  auto& constant = *out.expr.mutable_const_expr();
  if (literal->bytes) {
    constant.set_bytes_value(std::move(literal->value));
  } else {
    constant.set_string_value(std::move(literal->value));
  }
  advance();
  return true;
}

}  // namespace headgate::engine::cel
