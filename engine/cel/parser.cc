#include "engine/cel/parser.h"

#include "engine/cel/macros.h"

namespace headgate::engine::cel {
namespace {

constexpr std::string_view kReserved[] = {"as",       "break",  "const",  "continue", "else", "for",
                                          "function", "if",     "import", "let",      "loop", "namespace",
                                          "package",  "return", "var",    "void",     "while"};

bool is_reserved(std::string_view name) {
  return std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved);
}

std::string_view relation_function(const Token& token) {
  constexpr std::pair<std::string_view, std::string_view> kRelations[] = {
      {"<", "_<_"}, {"<=", "_<=_"}, {">", "_>_"}, {">=", "_>=_"}, {"==", "_==_"}, {"!=", "_!=_"}, {"in", "@in"}};
  for (const auto& [symbol, function] : kRelations) {
    if (token.is(symbol)) return function;
  }
  return {};
}

std::string_view sum_function(const Token& token) {
  if (token.is("+")) return "_+_";
  return token.is("-") ? "_-_" : std::string_view();
}

std::string_view product_function(const Token& token) {
  if (token.is("*")) return "_*_";
  if (token.is("/")) return "_/_";
  return token.is("%") ? "_%_" : std::string_view();
}

// Terms of one && or || become a tree of the least height; the order of the terms stays.
struct Terms {
  std::string_view function;
  std::vector<Node> nodes;
  std::vector<int64_t> ids;

  Node balance(size_t low, size_t high) {
    const size_t middle = (low + high + 1) / 2;
    Node left = middle == low ? std::move(nodes[middle]) : balance(low, middle - 1);
    Node right = middle == high ? std::move(nodes[middle + 1]) : balance(middle + 1, high);
    Node joined;
    joined.height = std::max(left.height, right.height);
    joined.expr.set_id(ids[middle]);
    joined.expr.mutable_call_expr()->set_function(std::string(function));
    *joined.expr.mutable_call_expr()->add_args() = std::move(left.expr);
    *joined.expr.mutable_call_expr()->add_args() = std::move(right.expr);
    return joined;
  }
};

int height_of(const std::vector<Node>& nodes) {
  int height = 0;
  for (const Node& node : nodes) height = std::max(height, node.height);
  return height;
}

}  // namespace

std::optional<Expr> Parser::parse() {
  Node node;
  if (!parse_expression(node)) return std::nullopt;
  if (token_.kind != TokenKind::kEnd) {
    fail_expected("an operator or the end of the rule");
    return std::nullopt;
  }
  return std::move(node.expr);
}

bool Parser::fail(size_t offset, std::string text) {
  problem_ = {offset, true, std::move(text)};
  return false;
}

bool Parser::fail_expected(std::string_view what) {
  std::string_view hint;
  if (token_.kind == TokenKind::kWrong && !token_.text.empty() && (token_.text[0] == '\'' || token_.text[0] == '"')) {
    hint = "; a text in quotes ends on its line";
  }
  if (token_.is("{")) hint = "; messages cannot be written in a rule";
  if (token_.kind == TokenKind::kEnd && in_map_) hint = "; maps cannot be written in a rule, whose first '}' ends it";
  return fail(token_.offset, fmt::format("expected {}, found {}{}", what, describe(token_), hint));
}

bool Parser::expect(std::string_view symbol) {
  if (!token_.is(symbol)) return fail_expected(fmt::format("'{}'", symbol));
  advance();
  return true;
}

Expr Parser::make(size_t offset) {
  Expr expr;
  expr.set_id(ids_.next(offset));
  return expr;
}

Expr Parser::call(size_t offset, std::string_view function) {
  Expr expr = make(offset);
  expr.mutable_call_expr()->set_function(std::string(function));
  return expr;
}

bool Parser::join(Node& left, Expr call, Node right) {
  *call.mutable_call_expr()->add_args() = std::move(left.expr);
  *call.mutable_call_expr()->add_args() = std::move(right.expr);
  left.expr = std::move(call);
  left.height = std::max(left.height, right.height) + 1;
  if (left.height <= kMaxNesting) return true;
  return fail(ids_.offset_of(left.expr.id()), fmt::format("more than {} operators inside each other", kMaxNesting));
}

bool Parser::parse_expression(Node& out) {
  if (nesting_ >= kMaxNesting) {
    return fail(token_.offset, fmt::format("more than {} expressions inside each other", kMaxNesting));
  }
  ++nesting_;
  const bool parsed = parse_conditional(out);
  --nesting_;
  return parsed;
}

bool Parser::parse_conditional(Node& out) {
  if (!parse_or(out)) return false;
  if (!token_.is("?")) return true;
  Expr choice = call(token_.offset, "_?_:_");
  advance();
  Node yes;
  Node no;
  if (!parse_or(yes) || !expect(":") || !parse_expression(no)) return false;
  out.height = std::max({out.height, yes.height, no.height});
  auto& arguments = *choice.mutable_call_expr()->mutable_args();
  *arguments.Add() = std::move(out.expr);
  *arguments.Add() = std::move(yes.expr);
  *arguments.Add() = std::move(no.expr);
  out.expr = std::move(choice);
  return true;
}

bool Parser::parse_or(Node& out) {
  if (!parse_and(out)) return false;
  if (!token_.is("||")) return true;
  Terms terms{"_||_", {}, {}};
  terms.nodes.push_back(std::move(out));
  while (token_.is("||")) {
    const size_t offset = token_.offset;
    advance();
    if (!parse_and(terms.nodes.emplace_back())) return false;
    terms.ids.push_back(ids_.next(offset));
  }
  out = terms.balance(0, terms.ids.size() - 1);
  return true;
}

bool Parser::parse_and(Node& out) {
  if (!parse_relation(out)) return false;
  if (!token_.is("&&")) return true;
  Terms terms{"_&&_", {}, {}};
  terms.nodes.push_back(std::move(out));
  while (token_.is("&&")) {
    const size_t offset = token_.offset;
    advance();
    if (!parse_relation(terms.nodes.emplace_back())) return false;
    terms.ids.push_back(ids_.next(offset));
  }
  out = terms.balance(0, terms.ids.size() - 1);
  return true;
}

bool Parser::parse_relation(Node& out) {
  if (!parse_sum(out)) return false;
  for (auto function = relation_function(token_); !function.empty(); function = relation_function(token_)) {
    Expr relation = call(token_.offset, function);
    advance();
    Node right;
    if (!parse_sum(right) || !join(out, std::move(relation), std::move(right))) return false;
  }
  return true;
}

bool Parser::parse_sum(Node& out) {
  if (!parse_product(out)) return false;
  for (auto function = sum_function(token_); !function.empty(); function = sum_function(token_)) {
    Expr sum = call(token_.offset, function);
    advance();
    Node right;
    if (!parse_product(right) || !join(out, std::move(sum), std::move(right))) return false;
  }
  return true;
}

bool Parser::parse_product(Node& out) {
  if (!parse_unary(out)) return false;
  for (auto function = product_function(token_); !function.empty(); function = product_function(token_)) {
    Expr product = call(token_.offset, function);
    advance();
    Node right;
    if (!parse_unary(right) || !join(out, std::move(product), std::move(right))) return false;
  }
  return true;
}

bool Parser::parse_unary(Node& out) {
  if (token_.is("!")) return parse_prefixed(out, "!", "!_");
  if (token_.is("-")) {
    Lexer ahead = lexer_;
    if (!ahead.next().is_number()) return parse_prefixed(out, "-", "-_");
  }
  return parse_member(out);
}

// A run of one operator: two of them say nothing.
bool Parser::parse_prefixed(Node& out, std::string_view symbol, std::string_view function) {
  const size_t offset = token_.offset;
  size_t count = 0;
  for (; token_.is(symbol); ++count) advance();
  if (count % 2 == 0) return parse_member(out);
  Expr prefixed = call(offset, function);
  if (!parse_member(out)) return false;
  *prefixed.mutable_call_expr()->add_args() = std::move(out.expr);
  out.expr = std::move(prefixed);
  return true;
}

bool Parser::parse_member(Node& out) {
  if (!parse_primary(out)) return false;
  while (token_.is(".") || token_.is("[")) {
    if (!(token_.is(".") ? parse_dot(out) : parse_index(out))) return false;
    if (++out.height > kMaxNesting) {
      return fail(token_.offset, fmt::format("more than {} operators inside each other", kMaxNesting));
    }
  }
  return true;
}

bool Parser::parse_dot(Node& out) {
  const size_t offset = token_.offset;
  advance();
  const Token name = token_;
  const bool escaped = name.kind == TokenKind::kEscapedName;
  if (name.kind != TokenKind::kName && !escaped) return fail_expected("the name of a field or function after '.'");
  advance();
  if (token_.is("(") && !escaped) {
    Node target = std::move(out);
    return finish_call(out, std::move(target), name, false);
  }
  Expr select = make(offset);
  *select.mutable_select_expr()->mutable_operand() = std::move(out.expr);
  select.mutable_select_expr()->set_field(std::string(escaped ? name.text.substr(1, name.text.size() - 2) : name.text));
  out.expr = std::move(select);
  return true;
}

bool Parser::parse_index(Node& out) {
  Expr index = call(token_.offset, "_[_]");
  advance();
  Node key;
  if (!parse_expression(key) || !expect("]")) return false;
  out.height = std::max(out.height, key.height);
  *index.mutable_call_expr()->add_args() = std::move(out.expr);
  *index.mutable_call_expr()->add_args() = std::move(key.expr);
  out.expr = std::move(index);
  return true;
}

bool Parser::parse_primary(Node& out) {
  if (token_.kind == TokenKind::kName || token_.is(".")) return parse_name(out);
  if (token_.is("[")) return parse_list(out);
  if (token_.is("{")) return parse_map(out);
  if (!token_.is("(")) return parse_literal(out);
  advance();
  return parse_expression(out) && expect(")");
}

bool Parser::parse_name(Node& out) {
  const bool leading_dot = token_.is(".");
  if (leading_dot) advance();
  const Token name = token_;
  if (name.kind != TokenKind::kName) return fail_expected("a name after '.'");
  if (is_reserved(name.text)) return fail(name.offset, fmt::format("'{}' is reserved and cannot be a name", name.text));
  advance();
  if (token_.is("(")) return finish_call(out, std::nullopt, name, leading_dot);
  out.height = 0;
  out.expr = make(name.offset);
  out.expr.mutable_ident_expr()->set_name(fmt::format("{}{}", leading_dot ? "." : "", name.text));
  return true;
}

bool Parser::finish_call(Node& out, std::optional<Node> target, const Token& name, bool leading_dot) {
  const size_t offset = token_.offset;
  advance();
  const int64_t id = ids_.next(offset);
  std::vector<Node> arguments;
  if (!parse_arguments(arguments, ")")) return false;
  const std::string function = fmt::format("{}{}", leading_dot ? "." : "", name.text);
  MacroCall macro{function, offset, std::nullopt, {}};
  out.height = std::max(height_of(arguments), target ? target->height : 0);
  if (target) macro.target = std::move(target->expr);
  for (Node& argument : arguments) macro.arguments.push_back(std::move(argument.expr));
  const Expansion expansion = expand(macro, ids_, out.expr, problem_);
  if (expansion != Expansion::kNone) return expansion == Expansion::kDone;
  out.expr.Clear();
  out.expr.set_id(id);
  auto& plain = *out.expr.mutable_call_expr();
  plain.set_function(function);
  if (macro.target) *plain.mutable_target() = std::move(*macro.target);
  for (Expr& argument : macro.arguments) *plain.add_args() = std::move(argument);
  return true;
}

bool Parser::parse_list(Node& out) {
  Expr list = make(token_.offset);
  advance();
  std::vector<Node> elements;
  if (token_.is(",")) {
    Lexer ahead = lexer_;
    if (ahead.next().is("]")) advance();
  }
  if (!parse_arguments(elements, "]")) return false;
  out.height = height_of(elements);
  list.mutable_list_expr();
  for (Node& element : elements) *list.mutable_list_expr()->add_elements() = std::move(element.expr);
  out.expr = std::move(list);
  return true;
}

bool Parser::parse_map(Node& out) {
  Expr map = make(token_.offset);
  map.mutable_struct_expr();
  const bool was_in_map = std::exchange(in_map_, true);
  advance();
  int height = 0;
  while (!token_.is("}")) {
    auto& entry = *map.mutable_struct_expr()->add_entries();
    entry.set_id(ids_.next(token_.offset));
    Node key;
    Node value;
    if (!parse_expression(key) || !expect(":") || !parse_expression(value)) return false;
    height = std::max({height, key.height, value.height});
    *entry.mutable_map_key() = std::move(key.expr);
    *entry.mutable_value() = std::move(value.expr);
    if (!token_.is(",")) break;
    advance();
  }
  if (!expect("}")) return false;
  in_map_ = was_in_map;
  out.height = height;
  out.expr = std::move(map);
  return true;
}

// A list may end with a comma, arguments may not.
bool Parser::parse_arguments(std::vector<Node>& out, std::string_view end) {
  while (!token_.is(end)) {
    if (!parse_expression(out.emplace_back())) return false;
    if (!token_.is(",")) break;
    advance();
    if (end == ")" && token_.is(end)) return fail_expected("an argument after ','");
  }
  return expect(end);
}

bool Parser::parse_literal(Node& out) {
  out.height = 0;
  if (token_.is("-") || token_.is_number()) return parse_number(out);
  if (token_.kind == TokenKind::kText) return parse_text(out);
  const bool is_boolean = token_.is("true") || token_.is("false");
  if (!is_boolean && !token_.is("null")) return fail_expected("a value");
  out.expr = make(token_.offset);
  if (is_boolean) {
    out.expr.mutable_const_expr()->set_bool_value(token_.is("true"));
  } else {
    out.expr.mutable_const_expr()->set_null_value(google::protobuf::NULL_VALUE);
  }
  advance();
  return true;
}

}  // namespace headgate::engine::cel
