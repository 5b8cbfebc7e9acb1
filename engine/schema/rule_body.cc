#include "engine/schema/rule_body.h"

#include "engine/cel/literal.h"
#include "engine/schema/lexer.h"

namespace headgate::engine {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_space(char c) { return is_blank(c) || c == '\n' || c == '\r'; }
bool is_word(char c) { return is_letter(c) || is_digit(c); }

// Permify would lose a part of such a literal.
bool needs_rewriting(std::string_view literal) {
  for (const std::string_view lost : {"\"", "}", "//", "/*"}) {
    if (literal.find(lost) != std::string_view::npos) return true;
  }
  return std::any_of(literal.begin(), literal.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

class Scanner {
 public:
  Scanner(const Source& source, size_t offset, Fault& fault)
      : source_(source), text_(source.text), at_(offset), fault_(fault) {}

  std::optional<ScannedBody> run() {
    const size_t begin = at_;
    body_.source = &source_;
    for (skip_blanks(); at_comment(); skip_blanks()) {
      if (!skip_comment()) return std::nullopt;
    }
    take_first_word();
    while (at_ < text_.size() && text_[at_] != '}') {
      if (!take()) return std::nullopt;
    }
    if (at_ >= text_.size()) {
      fail(begin - 1, "expected '}' at the end of the rule's body, found the end of the text");
      return std::nullopt;
    }
    if (!end_body()) return std::nullopt;
    return ScannedBody{std::move(body_), at_ + 1};
  }

 private:
  bool fail(size_t offset, std::string text) {
    fault_ = {base::v1::ERROR_CODE_SCHEMA_PARSE, {&source_, offset}, std::move(text)};
    return false;
  }

  // Blanks around the first word are not kept, and a line break counts as a word; one blank stays where two words
  // would grow together.
  void take_first_word() {
    skip_blanks();
    if (at_ >= text_.size() || !starts_word()) return;
    Lexer lexer(text_, at_);
    copy(lexer.next().text.size());
    const size_t begin = at_;
    skip_blanks();
    if (at_ >= text_.size() || at_ == begin) return;
    if (text_[at_] == '}') {
      at_ = begin;
    } else if (is_word(body_.text.back()) && is_word(text_[at_])) {
      body_.text += ' ';
    }
  }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  bool starts_word() const {
    const char c = text_[at_];
    return c != '}' && !at_comment() && cel::text_literal_length(text_.substr(at_)) == 0;
  }

  bool at_comment() const { return text_.compare(at_, 2, "//") == 0 || text_.compare(at_, 2, "/*") == 0; }

  // It is no part of the rule; in a stored row Permify would read it as code.
  bool skip_comment() {
    const bool line = text_[at_ + 1] == '/';
    const size_t end = line ? text_.find('\n', at_) : text_.find("*/", at_ + 2);
    if (end == std::string_view::npos && !line) return fail(at_, "this comment is not closed");
    at_ = std::min(end, text_.size());
    if (!line) at_ += 2;
    const bool grows_together = !body_.text.empty() && is_word(body_.text.back());
    if (grows_together && at_ < text_.size() && is_word(text_[at_])) body_.text += ' ';
    return true;
  }

  void copy(size_t length) {
    const bool continues = !body_.origins.empty() && body_.origins.back().verbatim &&
                           body_.text.size() - body_.origins.back().begin == at_ - body_.origins.back().source_offset;
    if (!continues) body_.origins.push_back({body_.text.size(), at_, true});
    body_.text += text_.substr(at_, length);
    at_ += length;
  }

  bool take() {
    if (at_comment()) return skip_comment();
    if (const size_t length = cel::text_literal_length(text_.substr(at_)); length != 0) return take_literal(length);
    size_t length = 1;
    if (is_word(text_[at_])) {
      while (at_ + length < text_.size() && is_word(text_[at_ + length])) ++length;
    }
    copy(length);
    return true;
  }

  bool take_literal(size_t length) {
    if (length == std::string_view::npos) return fail(at_, "this text in quotes is not closed");
    const std::string_view token = text_.substr(at_, length);
    const auto literal = needs_rewriting(token) ? cel::decode_text_literal(token) : std::nullopt;
    if (!literal) {
      copy(length);
      return true;
    }
    body_.origins.push_back({body_.text.size(), at_, false});
    body_.text += cel::quote(*literal);
    at_ += length;
    return true;
  }

  bool end_body() {
    const size_t last = body_.text.find_last_not_of(" \t\r\n");
    if (last == std::string::npos) return fail(at_, "expected an expression in the rule's body, found '}'");
    if (!is_space(body_.text.back()) && body_.text.back() != ';') {
      return fail(at_, "put a blank or a line break in front of this '}': the word it touches would be lost");
    }
    body_.text.pop_back();
    return true;
  }

  const Source& source_;
  std::string_view text_;
  size_t at_;
  Fault& fault_;
  RuleBody body_;
};

}  // namespace

Place RuleBody::place_of(size_t offset) const {
  if (origins.empty()) return {source, 0};
  const auto behind = std::upper_bound(origins.begin(), origins.end(), offset,
                                       [](size_t value, const Origin& origin) { return value < origin.begin; });
  const Origin& origin = behind == origins.begin() ? origins.front() : *std::prev(behind);
  return {source, origin.source_offset + (origin.verbatim ? offset - origin.begin : 0)};
}

std::optional<ScannedBody> scan_rule_body(const Source& source, size_t offset, Fault& fault) {
  return Scanner(source, offset, fault).run();
}

}  // namespace headgate::engine
