// Text to tree: grammar and names that occur twice, nothing about what names refer to.
#pragma once

#include <optional>
#include <variant>

#include "engine/schema/lexer.h"
#include "engine/schema/tree.h"

namespace headgate::engine {

// A statement of an entity.
using Statement = std::variant<Relation, Attribute, Permission>;
const Name& name_of(const Statement& statement);

class Parser {
 public:
  // The source outlives the parser and the trees.
  explicit Parser(const Source& source);

  // Each returns nothing and leaves a fault when the text is wrong.
  // A whole schema, appended to `schema`. Words outside of entities and rules are skipped, as Permify does.
  bool parse_schema(Schema& schema);
  // Exactly one statement of an entity, line breaks around it allowed.
  std::optional<Statement> parse_statement();

  const Fault& fault() const { return fault_; }

 private:
  void advance();
  bool fail(const Token& at, std::string text);
  bool fail_expected(std::string_view what);
  bool expect_symbol(char symbol, std::string_view what);
  bool expect_name(Name& name, std::string_view what);
  Name take_name();
  void skip_newlines();

  bool parse_entity(Schema& schema);
  bool parse_member(Entity& entity);
  bool parse_rule(Schema& schema);
  bool parse_parameters(Rule& rule);
  bool parse_relation(Relation& relation);
  bool parse_relation_type(RelationType& type);
  bool parse_attribute(Attribute& attribute);
  bool parse_permission(Permission& permission);
  bool parse_value_type(ValueType& type, std::string_view what);
  bool parse_expression(Expression& expression, int nesting);
  bool parse_operand(Expression& expression, int nesting, std::string_view after);
  bool parse_path_or_call(Expression& expression);
  bool parse_path(Path& path);
  bool parse_arguments(Expression& call);

  const Source& source_;
  Lexer lexer_;
  Token token_;
  Fault fault_;
};

}  // namespace headgate::engine
