// Expression text to tree, with macros expanded. Ids are given in the order in which cel-go gives them: an operator
// gets its id behind its left operand, a call at its parenthesis.
#pragma once

#include <optional>
#include <vector>

#include "engine/cel/compile.h"
#include "engine/cel/lexer.h"

namespace headgate::engine::cel {

using Expr = google::api::expr::v1alpha1::Expr;

// Bounds of recursion, in the parser and in everything that walks the tree later.
constexpr int kMaxNesting = 250;
constexpr size_t kMaxCodePoints = 100'000;

// A tree, and how many operators stand inside each other in it.
struct Node {
  Expr expr;
  int height = 0;
};

// Gives ids and remembers where in the text they belong.
class Ids {
 public:
  int64_t next(size_t offset) {
    offsets_.push_back(offset);
    return static_cast<int64_t>(offsets_.size());
  }
  size_t offset_of(int64_t id) const { return offsets_[static_cast<size_t>(id) - 1]; }

 private:
  std::vector<size_t> offsets_;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) { advance(); }

  // Nothing when the text is wrong; see problem().
  std::optional<Expr> parse();

  const Problem& problem() const { return problem_; }
  const Ids& ids() const { return ids_; }

 private:
  void advance() { token_ = lexer_.next(); }
  bool fail(size_t offset, std::string text);
  bool fail_expected(std::string_view what);
  bool expect(std::string_view symbol);
  Expr make(size_t offset);
  Expr call(size_t offset, std::string_view function);
  bool join(Node& left, Expr call, Node right);

  bool parse_expression(Node& out);
  bool parse_conditional(Node& out);
  bool parse_or(Node& out);
  bool parse_and(Node& out);
  bool parse_relation(Node& out);
  bool parse_sum(Node& out);
  bool parse_product(Node& out);
  bool parse_unary(Node& out);
  bool parse_prefixed(Node& out, std::string_view symbol, std::string_view function);
  bool parse_member(Node& out);
  bool parse_dot(Node& out);
  bool parse_index(Node& out);
  bool parse_primary(Node& out);
  bool parse_name(Node& out);
  bool parse_list(Node& out);
  bool parse_map(Node& out);
  bool parse_arguments(std::vector<Node>& out, std::string_view end);
  bool parse_literal(Node& out);
  bool parse_number(Node& out);
  bool parse_text(Node& out);
  bool finish_call(Node& out, std::optional<Node> target, const Token& name, bool leading_dot);

  Lexer lexer_;
  Token token_;
  Ids ids_;
  Problem problem_;
  int nesting_ = 0;
  bool in_map_ = false;
};

}  // namespace headgate::engine::cel
