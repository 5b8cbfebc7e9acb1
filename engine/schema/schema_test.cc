#include "engine/schema/schema.h"

#include <google/protobuf/util/message_differencer.h>

#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using google::protobuf::util::MessageDifferencer;

std::string error_of(std::string_view text) {
  const auto compiled = compile_schema(text);
  if (compiled.ok()) return "accepted";
  CHECK(compiled.status().code() == StatusCode::kInvalidArgument);
  return message_of(compiled.status());
}

std::string in_doc(std::string_view statement) {
  return fmt::format("entity user {{}}\nentity doc {{\n{}\n}}", statement);
}
std::string with_rule(std::string_view body) {
  return fmt::format("entity user {{}}\nrule r(n integer, s string) {{\n{}\n}}", body);
}

std::string joined(const std::vector<SchemaRow>& rows) {
  std::string text;
  for (const SchemaRow& row : rows) text += row.text + "\n";
  return text;
}

constexpr std::string_view kDrive = R"(entity user {}
entity group { relation member @user @group#member }
entity folder {
  relation parent @folder
  relation viewer @user @group#member
  attribute public boolean
  attribute labels string[]
  permission view = viewer or public or parent.view
  permission odd = (viewer and public) not (parent.view or labelled(labels))
}
rule labelled(labels string[]) {
  'x' in labels && context.data.name == "it's"
}
)";

}  // namespace

TEST_SUITE("engine/schema") {
  TEST_CASE("errors: name the place of the wrong word and what would help") {
    CHECK(error_of("entity user2 {}") ==
          "ERROR_CODE_SCHEMA_PARSE: 1:12: expected '{' after the entity's name, on the same line, found '2'; names "
          "consist of letters and '_'");
    CHECK(error_of("entity user {\n owner @user\n}") ==
          "ERROR_CODE_SCHEMA_PARSE: 2:2: expected relation, attribute, permission or '}', found 'owner'");
    CHECK(
        error_of("entity user {\r\n relation owner\r\n}") ==
        "ERROR_CODE_SCHEMA_PARSE: 2:16: expected a type (@name) after the relation's name, found the end of the line");
    CHECK(error_of("entity user {") ==
          "ERROR_CODE_SCHEMA_PARSE: 1:14: expected '}' at the end of entity 'user', found the end of the text");
    CHECK(error_of(in_doc(" relation a @user\n permission p = not a")) ==
          "ERROR_CODE_SCHEMA_PARSE: 4:17: expected a name or '(' after '=' ('not' stands between two operands: a not "
          "b), found the keyword 'not'");
    CHECK(error_of(in_doc(" relation a @user\n permission p = a\n   or a")) ==
          "ERROR_CODE_SCHEMA_PARSE: 5:4: expected relation, attribute, permission or '}' (a permission ends with its "
          "line; a line may break behind 'or', not in front of it), found the keyword 'or'");
    CHECK(error_of(in_doc(" relation a @user @nobody")) ==
          "ERROR_CODE_RELATION_REFERENCE_NOT_FOUND_IN_ENTITY_REFERENCES: 3:20: there is no entity 'nobody'");
    CHECK(error_of(in_doc(" relation a @user\n permission p = b")) ==
          "ERROR_CODE_UNDEFINED_RELATION_REFERENCE: 4:17: entity 'doc' has no relation, permission or attribute 'b'");
    CHECK(error_of(in_doc(" relation a @user\n relation a @user")) ==
          "ERROR_CODE_DUPLICATED_RELATION_REFERENCE: 4:11: entity 'doc' has 'a' already; relations, attributes and "
          "permissions share their names");
    CHECK(
        error_of("// nothing") ==
        "ERROR_CODE_NO_ENTITY_REFERENCES_FOUND_IN_SCHEMA: the schema has no entity: write one as entity name { ... }");
  }

  TEST_CASE("errors: inside of rules keep the place in the caller's text") {
    CHECK(error_of(with_rule("  m > 1")) ==
          "ERROR_CODE_SCHEMA_COMPILE: 3:3: in rule 'r': 'm' is neither a parameter of the rule nor 'context'");
    CHECK(error_of(with_rule("  n > 1 &&\n  s + 1 == 'é'")) ==
          "ERROR_CODE_SCHEMA_COMPILE: 4:5: in rule 'r': '+' does not take (string, int)");
    CHECK(error_of(with_rule("  s == \"é\" && n > ")) ==
          "ERROR_CODE_SCHEMA_PARSE: 3:19: in rule 'r': expected a value, found the end of the rule");
    CHECK(error_of(with_rule("  n + 1")) ==
          "ERROR_CODE_SCHEMA_COMPILE: 2:6: rule 'r' must be a condition, its expression is of type int");
    CHECK(error_of(with_rule("  n > 1 /* more")) == "ERROR_CODE_SCHEMA_PARSE: 3:9: this comment is not closed");
    // Comments move no place.
    CHECK(error_of(with_rule("  /* one */ n > 1 && // two\n  m > 1")) ==
          "ERROR_CODE_SCHEMA_COMPILE: 4:3: in rule 'r': 'm' is neither a parameter of the rule nor 'context'");
    CHECK(error_of("entity user {}\nrule r(n integer) { n > 50}") ==
          "ERROR_CODE_SCHEMA_PARSE: 2:27: put a blank or a line break in front of this '}': the word it touches would "
          "be lost");
    CHECK(error_of("entity user {}\nrule r(n integer) {}") ==
          "ERROR_CODE_SCHEMA_PARSE: 2:20: expected an expression in the rule's body, found '}'");
    CHECK(error_of(with_rule("  s == 'open")) == "ERROR_CODE_SCHEMA_PARSE: 3:8: this text in quotes is not closed");
  }

  TEST_CASE("rules: comments inside of a body are left out of the row") {
    const auto row_of = [](const std::string& body) {
      const auto compiled = compile_schema("entity user {}\nrule r(n integer) {" + body + "}");
      REQUIRE_MESSAGE(compiled.ok(), body << ": " << compiled.status().ToString());
      return compiled->rows.back().text;
    };
    const std::string plain = row_of("\n n > 1 && n < 9\n");
    for (const char* body :
         {" // first\n n > 1 && n < 9\n", "/* first */\n n > 1 && n < 9\n", "\n n > 1 &&/* between */ n < 9\n",
          "\n n > 1 && n < 9// '}' behind\n", " // one\n// two\n n > 1 && n < 9\n"}) {
      CHECK_MESSAGE(row_of(body).find('/') == std::string::npos, body);
    }
    CHECK(row_of(" // first\n n > 1 && n < 9\n") == plain);
    CHECK(row_of("\n n > 1 &&/* } */ n < 9\n") == plain);
    CHECK(row_of("\n '//' != ''// }\n") == row_of("\n '//' != ''\n"));
    CHECK(row_of("\n n/**/in [1]\n") == row_of("\n n in [1]\n"));
  }

  TEST_CASE("rows: are stable when they are read and written again") {
    const auto first = compile_schema(kDrive);
    REQUIRE_MESSAGE(first.ok(), first.status().ToString());
    const auto second = compile_schema(joined(first->rows));
    REQUIRE_MESSAGE(second.ok(), second.status().ToString());
    const auto third = compile_schema(joined(second->rows));
    REQUIRE(third.ok());
    CHECK(joined(second->rows) == joined(first->rows));
    CHECK(joined(third->rows) == joined(second->rows));
    CHECK(MessageDifferencer::Equals(first->definition, third->definition));
    CHECK(first->rows[0].name == "folder");
    CHECK(first->rows[0].text ==
          "entity folder {\n\trelation parent @folder \n\trelation viewer @user @group#member \n\n"
          "\tattribute public boolean\n\tattribute labels string[]\n\n"
          "\tpermission view = ((viewer or public) or parent.view)\n"
          "\tpermission odd = ((viewer and public) not (parent.view or labelled(labels)))\n}\n");
  }

  TEST_CASE("rows: a rule on one line gains no more than one empty line") {
    const auto first = compile_schema("entity user {}\nrule r(n integer) { n > 5 }");
    REQUIRE(first.ok());
    CHECK(first->rows[0].text == "rule r(n integer) {\n\tn> 5\n}\n");
    const auto second = compile_schema(joined(first->rows));
    const auto third = compile_schema(joined(second->rows));
    CHECK(second->rows[0].text == "rule r(n integer) {\n\t\nn> 5\n}\n");
    CHECK(third->rows[0].text == second->rows[0].text);
  }

  TEST_CASE("rows: texts in rules keep their meaning in Permify's reading too") {
    const auto compiled = compile_schema(with_rule("  s == \"x\" || s == 'is//a}b' || s == 'é' || s == \"it's\""));
    REQUIRE_MESSAGE(compiled.ok(), compiled.status().ToString());
    CHECK(compiled->rows[0].text ==
          "rule r(n integer, s string) {\n\t\n"
          "s == 'x' || s == 'is\\x2f/a\\x7db' || s == '\\xe9' || s == 'it\\x27s'\n}\n");
    const std::string expression = compiled->definition.rule_definitions().at("r").expression().expr().DebugString();
    CHECK(expression.find("string_value: \"is//a}b\"") != std::string::npos);
    CHECK(expression.find("string_value: \"it\\'s\"") != std::string::npos);
  }

  TEST_CASE("read_schema: takes rows as Permify writes them, in any order") {
    const std::vector<SchemaRow> rows = {
        {"r", "rule r(s string, n integer) {\n\t\n\n\nn > 1\n}\n"},
        {"doc",
         "entity doc {\n\trelation owner @user \n\n\tattribute n integer\n\n\tpermission p = (owner or r(n, s))\n} \n"},
    };
    const auto definition = read_schema(rows);
    REQUIRE_MESSAGE(definition.ok(), definition.status().ToString());
    CHECK(definition->entity_definitions().at("doc").permissions().at("p").child().rewrite().children_size() == 2);
    CHECK(definition->rule_definitions().at("r").arguments().size() == 2);
    CHECK(read_schema({})->entity_definitions().empty());
    const auto broken = read_schema({{"doc", "entity doc {"}});
    CHECK(broken.status().code() == StatusCode::kInternal);
    CHECK(message_of(broken.status()).find("row doc 1:13") != std::string::npos);
  }

  TEST_CASE("read_entity and read_rule: find their statement in one row") {
    const SchemaRow doc{"doc", "entity doc {\n relation owner @user\n}"};
    const SchemaRow rule{"r", "rule r(n integer) {\n n > 1\n}"};
    CHECK(read_entity(doc)->relations().count("owner") == 1);
    CHECK(message_of(read_entity(rule).status()) == "ERROR_CODE_ENTITY_DEFINITION_NOT_FOUND");
    CHECK(read_rule(rule)->arguments().count("n") == 1);
    CHECK(message_of(read_rule(doc).status()) == "ERROR_CODE_RULE_DEFINITION_NOT_FOUND");
  }

  TEST_CASE("references: sets that contain themselves are followed once") {
    CHECK(error_of("entity user { relation self @user permission x = self }\n"
                   "entity group { relation member @user @group#member\n permission p = member.x }") == "accepted");
    CHECK(error_of("entity user {}\nentity group { relation member @user @group#member\n permission p = member.x }") ==
          "ERROR_CODE_UNDEFINED_RELATION_REFERENCE: 3:24: entity 'user' has no relation or permission 'x'");
    CHECK(error_of("entity a { relation r @b#r }\nentity b { relation r @a#r permission p = r.q }") == "accepted");
  }

  TEST_CASE("rules: parameters are unlike each other and unlike the request's data") {
    CHECK(error_of("entity user {}\nrule r(n integer, n string) {\n n > 1\n}") ==
          "ERROR_CODE_INVALID_ARGUMENT: 2:19: rule 'r' has a parameter 'n' already");
    CHECK(error_of("entity user {}\nrule r(context integer) {\n context > 1\n}") ==
          "ERROR_CODE_INVALID_ARGUMENT: 2:8: 'context' is the data of the request; give the parameter another name");
  }
}

}  // namespace headgate::engine
