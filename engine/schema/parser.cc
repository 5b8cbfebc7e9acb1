#include "engine/schema/parser.h"

namespace headgate::engine {
namespace {

constexpr std::string_view kNameHint = "names consist of letters and '_'";

bool is_operator(TokenKind kind) {
  return kind == TokenKind::kAnd || kind == TokenKind::kOr || kind == TokenKind::kNot;
}

Expression::Kind operation_of(TokenKind kind) {
  if (kind == TokenKind::kAnd) return Expression::Kind::kAnd;
  return kind == TokenKind::kOr ? Expression::Kind::kOr : Expression::Kind::kNot;
}

Expression join(Expression::Kind kind, Place place, Expression left, Expression right) {
  Expression joined;
  joined.kind = kind;
  joined.place = place;
  joined.depth = std::max(left.depth, right.depth) + 1;
  joined.left = std::make_unique<Expression>(std::move(left));
  joined.right = std::make_unique<Expression>(std::move(right));
  return joined;
}

}  // namespace

const Name& name_of(const Statement& statement) {
  return std::visit([](const auto& s) -> const Name& { return s.name; }, statement);
}

Parser::Parser(const Source& source) : source_(source), lexer_(source.text) { advance(); }

void Parser::advance() { token_ = lexer_.next(); }

bool Parser::fail(const Token& at, std::string text) {
  fault_ = {base::v1::ERROR_CODE_SCHEMA_PARSE, {&source_, at.offset}, std::move(text)};
  return false;
}

bool Parser::fail_expected(std::string_view what) {
  const std::string_view before = source_.text.substr(0, token_.offset);
  const bool cuts_name =
      (token_.kind == TokenKind::kNumber || token_.is_symbol('-')) && !before.empty() && is_letter(before.back());
  const bool starts_name = token_.kind == TokenKind::kNumber && what.find("name") != std::string_view::npos;
  const std::string hint = cuts_name || starts_name ? fmt::format("; {}", kNameHint) : "";
  return fail(token_, fmt::format("expected {}, found {}{}", what, describe(token_), hint));
}

bool Parser::expect_symbol(char symbol, std::string_view what) {
  if (!token_.is_symbol(symbol)) return fail_expected(what);
  advance();
  return true;
}

Name Parser::take_name() {
  const Name name{token_.text, {&source_, token_.offset}};
  advance();
  return name;
}

bool Parser::expect_name(Name& name, std::string_view what) {
  if (token_.kind != TokenKind::kName) return fail_expected(what);
  name = take_name();
  return true;
}

void Parser::skip_newlines() {
  while (token_.kind == TokenKind::kNewline) advance();
}

bool Parser::parse_schema(Schema& schema) {
  while (token_.kind != TokenKind::kEnd) {
    if (token_.kind == TokenKind::kEntity) {
      if (!parse_entity(schema)) return false;
    } else if (token_.kind == TokenKind::kRule) {
      if (!parse_rule(schema)) return false;
    } else {
      advance();
    }
  }
  return true;
}

std::optional<Statement> Parser::parse_statement() {
  skip_newlines();
  Statement statement;
  bool parsed = false;
  if (token_.kind == TokenKind::kRelation) {
    parsed = parse_relation(statement.emplace<Relation>());
  } else if (token_.kind == TokenKind::kAttribute) {
    parsed = parse_attribute(statement.emplace<Attribute>());
  } else if (token_.kind == TokenKind::kPermission) {
    parsed = parse_permission(statement.emplace<Permission>());
  } else {
    fail_expected("one statement: relation, attribute or permission");
  }
  if (!parsed) return std::nullopt;
  skip_newlines();
  if (token_.kind == TokenKind::kEnd) return statement;
  fail_expected("the end of the text: one string holds one statement");
  return std::nullopt;
}

bool Parser::parse_entity(Schema& schema) {
  advance();
  Entity& entity = schema.entities.emplace_back();
  if (!expect_name(entity.name, "a name after 'entity'")) return false;
  if (!expect_symbol('{', "'{' after the entity's name, on the same line")) return false;
  while (!token_.is_symbol('}')) {
    if (!parse_member(entity)) return false;
  }
  advance();
  return true;
}

bool Parser::parse_member(Entity& entity) {
  switch (token_.kind) {
    case TokenKind::kRelation: return parse_relation(entity.relations.emplace_back());
    case TokenKind::kAttribute: return parse_attribute(entity.attributes.emplace_back());
    case TokenKind::kPermission: return parse_permission(entity.permissions.emplace_back());
    case TokenKind::kNewline: advance(); return true;
    case TokenKind::kEnd: return fail_expected(fmt::format("'}}' at the end of entity '{}'", entity.name.text));
    case TokenKind::kAnd:
    case TokenKind::kOr:
    case TokenKind::kNot:
      return fail_expected(
          fmt::format("relation, attribute, permission or '}}' (a permission ends with its line; "
                      "a line may break behind '{}', not in front of it)",
                      token_.text));
    default: break;
  }
  if (!token_.is_symbol('{')) return fail_expected("relation, attribute, permission or '}'");
  advance();
  return true;
}

bool Parser::parse_rule(Schema& schema) {
  advance();
  Rule& rule = schema.rules.emplace_back();
  if (!expect_name(rule.name, "a name after 'rule'")) return false;
  if (!expect_symbol('(', "'(' with the parameters after the rule's name")) return false;
  if (!parse_parameters(rule)) return false;
  if (!token_.is_symbol('{')) return fail_expected("'{' after the rule's parameters, on the same line");
  auto scanned = scan_rule_body(source_, lexer_.offset(), fault_);
  if (!scanned) return false;
  rule.body = std::move(scanned->body);
  lexer_ = Lexer(source_.text, scanned->end);
  advance();
  return true;
}

bool Parser::parse_parameters(Rule& rule) {
  while (!token_.is_symbol(')')) {
    Attribute& parameter = rule.parameters.emplace_back();
    if (!expect_name(parameter.name, "a parameter's name or ')'")) return false;
    if (!parse_value_type(parameter.type, "the parameter's type after its name")) return false;
    if (token_.is_symbol(',')) {
      advance();
    } else if (!token_.is_symbol(')')) {
      return fail_expected("',' or ')' after the parameter, on the same line");
    }
  }
  advance();
  return true;
}

bool Parser::parse_relation(Relation& relation) {
  advance();
  if (!expect_name(relation.name, "a name after 'relation'")) return false;
  do {
    RelationType& type = relation.types.emplace_back();
    if (!parse_relation_type(type)) return false;
  } while (token_.is_symbol('@'));
  return true;
}

bool Parser::parse_relation_type(RelationType& type) {
  if (!expect_symbol('@', "a type (@name) after the relation's name")) return false;
  if (!expect_name(type.type, "the name of an entity after '@'")) return false;
  if (!token_.is_symbol('#')) return true;
  advance();
  return expect_name(type.relation.emplace(), "the name of a relation after '#'");
}

bool Parser::parse_attribute(Attribute& attribute) {
  advance();
  if (!expect_name(attribute.name, "a name after 'attribute'")) return false;
  return parse_value_type(attribute.type, "the attribute's type after its name");
}

bool Parser::parse_value_type(ValueType& type, std::string_view what) {
  if (!expect_name(type.name, fmt::format("{} (boolean, string, integer or double, with [] for lists)", what))) {
    return false;
  }
  if (!token_.is_symbol('[')) return true;
  advance();
  type.array = true;
  return expect_symbol(']', "']' right after '[': lists have no size");
}

bool Parser::parse_permission(Permission& permission) {
  const std::string_view keyword = token_.text;
  advance();
  if (!expect_name(permission.name, fmt::format("a name after '{}'", keyword))) return false;
  if (!expect_symbol('=', "'=' after the permission's name")) return false;
  return parse_expression(permission.expression, 0);
}

// One level of precedence, strictly from left to right.
bool Parser::parse_expression(Expression& expression, int nesting) {
  if (!parse_operand(expression, nesting, nesting == 0 ? "'='" : "'('")) return false;
  while (is_operator(token_.kind)) {
    const Token op = token_;
    advance();
    Expression right;
    if (!parse_operand(right, nesting, fmt::format("'{}'", op.text))) return false;
    expression = join(operation_of(op.kind), {&source_, op.offset}, std::move(expression), std::move(right));
    if (expression.depth > kMaxExpressionDepth) {
      return fail(op, fmt::format("more than {} operators inside each other; move a part to a permission of its own",
                                  kMaxExpressionDepth));
    }
  }
  return true;
}

bool Parser::parse_operand(Expression& expression, int nesting, std::string_view after) {
  if (token_.kind == TokenKind::kNewline) advance();
  if (token_.kind == TokenKind::kName) return parse_path_or_call(expression);
  if (token_.kind == TokenKind::kNot) {
    return fail_expected(fmt::format("a name or '(' after {} ('not' stands between two operands: a not b)", after));
  }
  if (!token_.is_symbol('(')) return fail_expected(fmt::format("a name or '(' after {}", after));
  if (nesting >= kMaxExpressionDepth) {
    return fail(token_, fmt::format("more than {} parentheses inside each other", kMaxExpressionDepth));
  }
  advance();
  if (!parse_expression(expression, nesting + 1)) return false;
  return expect_symbol(')', "and, or, not or ')', on the same line");
}

bool Parser::parse_path_or_call(Expression& expression) {
  expression.place = {&source_, token_.offset};
  if (!parse_path(expression.path)) return false;
  if (expression.path.size() != 1 || !token_.is_symbol('(')) return true;
  expression.kind = Expression::Kind::kCall;
  return parse_arguments(expression);
}

bool Parser::parse_path(Path& path) {
  if (!expect_name(path.emplace_back(), "a name")) return false;
  while (token_.is_symbol('.')) {
    advance();
    if (!expect_name(path.emplace_back(), "a name after '.'")) return false;
  }
  return true;
}

bool Parser::parse_arguments(Expression& call) {
  advance();
  if (token_.is_symbol(')')) {
    advance();
    return true;
  }
  while (true) {
    if (token_.kind != TokenKind::kName) return fail_expected("the name of an attribute as argument of the rule");
    if (!parse_path(call.arguments.emplace_back())) return false;
    if (!token_.is_symbol(',')) break;
    advance();
  }
  return expect_symbol(')', "',' or ')' after the argument");
}

}  // namespace headgate::engine
