// Requests and schemas made to hurt: each ends soon, with an answer or with a clear error.
#include "engine/check/check_fixture.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

constexpr char kSmall[] = R"(
entity user {}
entity group { relation member @user @group#member }
entity doc {
  relation viewer @user @group#member
  attribute public boolean
  permission view = viewer or public
}
)";

base::v1::PermissionExpandRequest expand_of(const std::string& permission) {
  base::v1::PermissionExpandRequest request;
  request.set_tenant_id("t");
  *request.mutable_entity() = entity_from("doc:1");
  request.set_permission(permission);
  return request;
}

// "p" and a number as letters, because names have no digits.
std::string permission(int number) {
  return std::string("p") + static_cast<char>('a' + number / 26) + static_cast<char>('a' + number % 26);
}

// Each permission names the next one twice.
std::string doubling(int count, const std::string& operation) {
  std::string text = "entity user {}\nentity doc {\n  relation viewer @user\n";
  for (int i = 0; i < count; ++i) {
    const std::string below = i + 1 == count ? "viewer" : permission(i + 1);
    text += "  permission " + permission(i) + " = " + below + " " + operation + " " + below + "\n";
  }
  return text + "}\n";
}

TEST_SUITE("check/hostile") {
  TEST_CASE("hostile: a schema that doubles a hundred times is checked like a chain, and its tree is refused") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    for (const char* operation : {"or", "and", "not"}) {
      fixture.schema(doubling(100, operation));
      fixture.write({"doc:1#viewer@user:a"});
      CHECK(fixture.check("doc:1#paa@user:a", 200) == (std::string(operation) == "not" ? "denied" : "allowed"));
      CHECK(fixture.reader.round_trips == 1);
      CheckCall call;
      const auto tree = fixture.checks.expand(expand_of("paa"), call);
      CHECK(tree.status().code() == StatusCode::kResourceExhausted);
    }
  }

  TEST_CASE("hostile: an expression of a thousand operators is checked, and is too deep for a tree") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    std::string text = "viewer";
    for (int i = 0; i < 990; ++i) text += i % 2 == 0 ? " or viewer" : " and viewer";
    fixture.schema("entity user {}\nentity doc {\n  relation viewer @user\n  permission view = " + text + "\n}\n");
    fixture.write({"doc:1#viewer@user:a"});
    CHECK(fixture.check("doc:1#view@user:a") == "allowed");
    CHECK(fixture.check("doc:1#view@user:b") == "denied");
    CheckCall call;
    const auto tree = fixture.checks.expand(expand_of("view"), call);
    CHECK(describe(tree.status()) == "INVALID_ARGUMENT: ERROR_CODE_DEPTH_NOT_ENOUGH");
  }

  TEST_CASE("hostile: ten thousand tuples of the context count, wide and in a chain") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kSmall);
    fixture.write({"doc:other#viewer@user:x"});
    base::v1::Context wide, chain;
    for (int i = 0; i < 10'000; ++i) {
      *wide.add_tuples() = tuple_from("doc:1#viewer@user:u" + std::to_string(i));
      *chain.add_tuples() =
          tuple_from("group:g" + std::to_string(i) + "#member@group:g" + std::to_string(i + 1) + "#member");
    }
    *chain.add_tuples() = tuple_from("doc:1#viewer@group:g9000#member");
    *chain.add_tuples() = tuple_from("group:g10000#member@user:a");
    CHECK(fixture.check("doc:1#view@user:u9999", 20, wide) == "allowed");
    CHECK(fixture.check("doc:1#view@user:nobody", 20, wide) == "denied");
    CHECK(fixture.check("doc:1#view@user:a", 20, chain) == "INVALID_ARGUMENT: ERROR_CODE_DEPTH_NOT_ENOUGH");
    CHECK(fixture.check("doc:1#view@user:a", 2'000, chain) == "allowed");
  }

  TEST_CASE("hostile: a value that is missing or of another type is an error, not a crash") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kSmall);
    fixture.write({"doc:1#viewer@user:a"});
    base::v1::Context context;
    base::v1::Attribute& attribute = *context.add_attributes();
    *attribute.mutable_entity() = entity_from("doc:1");
    attribute.set_attribute("public");
    const std::string mismatch = "NOT_FOUND: ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH";
    CHECK(fixture.check("doc:1#view@user:b", 20, context).find(mismatch) == 0);
    CHECK(fixture.check("doc:1#view@user:a", 20, context) == "allowed");
    attribute.mutable_value()->PackFrom(base::v1::StringValue());
    CHECK(fixture.check("doc:1#view@user:b", 20, context).find(mismatch) == 0);
    base::v1::BooleanValue truth;
    attribute.mutable_value()->PackFrom(truth);
    attribute.mutable_value()->set_value("\xff\xff");
    CHECK(fixture.check("doc:1#view@user:b", 20, context).find(mismatch) == 0);
  }

  TEST_CASE("hostile: pages of any size, and names that are nowhere") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kSmall);
    fixture.write({"doc:1#viewer@user:a"});
    base::v1::PermissionLookupEntityRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata()->set_depth(INT32_MAX);
    request.set_entity_type("doc");
    request.set_permission("view");
    *request.mutable_subject() = tuple_from("x:x#x@user:a").subject();
    for (const uint32_t size : {1U, UINT32_MAX - 1, UINT32_MAX}) {
      request.set_page_size(size);
      CheckCall call;
      const auto page = fixture.checks.lookup_entity(request, call);
      REQUIRE_MESSAGE(page.ok(), describe(page.status()));
      CHECK(page->entity_ids_size() == 1);
    }
    request.set_continuous_token("%%");
    CheckCall call;
    CHECK(describe(fixture.checks.lookup_entity(request, call).status()) ==
          "INVALID_ARGUMENT: ERROR_CODE_INVALID_CONTINUOUS_TOKEN");
    CHECK(fixture.check("nope:1#view@user:a") == "NOT_FOUND: ERROR_CODE_SCHEMA_NOT_FOUND");
    CHECK(fixture.check("doc:1#group@user:a") == "NOT_FOUND: ERROR_CODE_RULE_DEFINITION_NOT_FOUND");
  }

  TEST_CASE("hostile: a database that fails is an error, for each call") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kSmall);
    fixture.write({"doc:1#viewer@user:a"});
    CHECK(fixture.check("doc:1#view@user:a") == "allowed");
    database->execute("ALTER TABLE relation_tuples RENAME TO away");
    base::v1::PermissionBulkCheckRequest bulk;
    bulk.set_tenant_id("t");
    bulk.mutable_metadata()->set_depth(20);
    auto& item = *bulk.add_items();
    *item.mutable_entity() = entity_from("doc:1");
    item.set_permission("view");
    *item.mutable_subject() = tuple_from("x:x#x@user:a").subject();
    CheckCall call;
    const std::string failed = "INTERNAL: ERROR_CODE_EXECUTION";
    CHECK(fixture.check("doc:1#view@user:a") == failed);
    CHECK(describe(fixture.checks.bulk_check(bulk, call).status()) == failed);
    CHECK(describe(fixture.checks.expand(expand_of("view"), call).status()) == failed);
    database->execute("ALTER TABLE away RENAME TO relation_tuples");
    CHECK(fixture.check("doc:1#view@user:a") == "allowed");
  }
}

}  // namespace
}  // namespace headgate::engine
