#include <google/protobuf/util/message_differencer.h>

#include "engine/schema/schema.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using Partials = google::protobuf::Map<std::string, base::v1::Partials>;

constexpr std::string_view kText = R"(entity user {}
entity doc {
  relation owner @user
  attribute n integer
  permission edit = owner
  permission big = r(n)
}
rule r(n integer) { n > 1
}
)";

std::vector<SchemaRow> stored() { return compile_schema(kText)->rows; }

std::string text_of(const std::vector<SchemaRow>& rows, std::string_view name) {
  for (const SchemaRow& row : rows) {
    if (row.name == name) return row.text;
  }
  return "no such row";
}

std::string error_of(const Partials& partials) {
  const auto changed = apply_partials(stored(), partials);
  return changed.ok() ? "accepted" : message_of(changed.status());
}

}  // namespace

TEST_SUITE("engine/schema") {
  TEST_CASE("partials: write, then update, then delete") {
    Partials partials;
    auto& doc = partials["doc"];
    doc.add_delete_("edit");
    doc.add_update("permission big = viewer");
    doc.add_write("\nrelation viewer @user @doc#owner // a comment\n;");
    const auto changed = apply_partials(stored(), partials);
    REQUIRE_MESSAGE(changed.ok(), changed.status().ToString());
    CHECK(text_of(changed->rows, "doc") ==
          "entity doc {\n\trelation owner @user \n\trelation viewer @user @doc#owner \n\n\tattribute n integer\n\n"
          "\tpermission big = viewer\n}\n");
    const auto read = read_schema(changed->rows);
    REQUIRE(read.ok());
    CHECK(google::protobuf::util::MessageDifferencer::Equals(*read, changed->definition));
  }

  TEST_CASE("partials: what is not named stays as it is, byte by byte") {
    std::vector<SchemaRow> rows = stored();
    rows[1].text = "rule r( n   integer) {\n\n\n\tn > 1\n}";
    REQUIRE(rows[1].name == "r");
    Partials partials;
    partials["doc"].add_write("relation viewer @user");
    const auto changed = apply_partials(rows, partials);
    REQUIRE(changed.ok());
    CHECK(text_of(changed->rows, "r") == rows[1].text);
    CHECK(apply_partials(rows, {})->rows[1].text == rows[1].text);
  }

  TEST_CASE("partials: errors that clients know have their bare names") {
    Partials partials;
    partials["doc"].add_write("permission edit = owner");
    CHECK(error_of(partials) == "ERROR_CODE_ALREADY_EXIST");
    partials["doc"].Clear();
    partials["doc"].add_delete_("nope");
    CHECK(error_of(partials) == "ERROR_CODE_REFERENCE_NOT_FOUND");
    partials["doc"].Clear();
    partials["r"].add_write("relation a @user");
    CHECK(error_of(partials) == "ERROR_CODE_CANNOT_CONVERT_TO_ENTITY_STATEMENT");
    partials.erase("r");
    partials["nope"];
    CHECK(error_of(partials) == "ERROR_CODE_ENTITY_STATEMENT_NOT_FOUND");
  }

  TEST_CASE("partials: other errors name the text they are in") {
    Partials partials;
    partials["doc"].add_write("relation viewer @user");
    partials["doc"].add_write("relation other @nobody");
    CHECK(error_of(partials) ==
          "ERROR_CODE_RELATION_REFERENCE_NOT_FOUND_IN_ENTITY_REFERENCES: doc.write[1] 1:17: there is no entity "
          "'nobody'");
    partials["doc"].Clear();
    partials["doc"].add_delete_("owner");
    CHECK(error_of(partials) ==
          "ERROR_CODE_UNDEFINED_RELATION_REFERENCE: row doc 6:20: entity 'doc' has no relation, permission or "
          "attribute 'owner'");
    partials["doc"].Clear();
    partials["doc"].add_update("relation edit @user");
    CHECK(error_of(partials).find("ERROR_CODE_SCHEMA_COMPILE: doc.update[0] 1:10: 'edit' is of another kind") == 0);
  }

  TEST_CASE("partials: a text holds one statement") {
    Partials partials;
    partials["doc"].add_write("nonsense");
    CHECK(error_of(partials) ==
          "ERROR_CODE_SCHEMA_PARSE: doc.write[0] 1:1: expected one statement: relation, attribute or permission, found "
          "'nonsense'");
    partials["doc"].set_write(0, "relation a @user\nrelation b @user");
    CHECK(error_of(partials) ==
          "ERROR_CODE_SCHEMA_PARSE: doc.write[0] 2:1: expected the end of the text: one string holds one statement, "
          "found the keyword 'relation'");
  }
}

}  // namespace headgate::engine
