// Text literals of the expression language: reading their escapes, and writing them so that the schema language keeps
// them whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace headgate::engine::cel {

struct TextLiteral {
  bool bytes = false;
  std::string value;  // UTF-8 unless bytes
};

// Length of the literal at the beginning of `text`, prefix (r, b, br in any case) and quotes included. 0 when none
// begins there; npos when it is not closed.
size_t text_literal_length(std::string_view text);

// REQUIRES: a whole literal. Nothing when an escape is wrong.
std::optional<TextLiteral> decode_text_literal(std::string_view token);

// In single quotes and plain ASCII, without double quotes, closing braces and marks of comments.
std::string quote(const TextLiteral& literal);

void append_utf8(std::string& out, uint32_t code_point);

}  // namespace headgate::engine::cel
