#include "engine/check/check_fixture.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

struct Lookups : CheckFixture {
  using CheckFixture::CheckFixture;

  CheckCall fresh_call() { return {.wanted = wanted}; }

  // "doc#view@user:a": the ids of all pages, and how many pages there were: "1 2 3 (2)".
  std::string entities(const std::string& question, uint32_t page_size = 0) {
    const size_t hash = question.find('#'), at = question.find('@');
    base::v1::PermissionLookupEntityRequest request;
    request.set_tenant_id(tenant);
    request.mutable_metadata()->set_depth(20);
    request.set_entity_type(question.substr(0, hash));
    request.set_permission(question.substr(hash + 1, at - hash - 1));
    *request.mutable_subject() = tuple_from("x:x#x" + question.substr(at)).subject();
    request.set_page_size(page_size);
    std::vector<std::string> ids;
    int pages = 0;
    do {
      CheckCall call = fresh_call();
      const auto page = checks.lookup_entity(request, call);
      if (!page.ok()) return describe(page.status());
      ids.insert(ids.end(), page->entity_ids().begin(), page->entity_ids().end());
      request.set_continuous_token(page->continuous_token());
    } while (++pages < 1000 && !request.continuous_token().empty());
    return fmt::format("{} ({})", fmt::join(ids, " "), pages);
  }

  // "doc:1#view@user" or "doc:1#view@group#member".
  std::string subjects(const std::string& question, uint32_t page_size = 0) {
    const size_t at = question.find('@');
    const base::v1::Tuple asked = tuple_from(question.substr(0, at) + "@x:x");
    const std::string kind = question.substr(at + 1);
    base::v1::PermissionLookupSubjectRequest request;
    request.set_tenant_id(tenant);
    request.mutable_metadata()->set_depth(20);
    *request.mutable_entity() = asked.entity();
    request.set_permission(asked.relation());
    request.mutable_subject_reference()->set_type(kind.substr(0, kind.find('#')));
    if (kind.find('#') != std::string::npos) {
      request.mutable_subject_reference()->set_relation(kind.substr(kind.find('#') + 1));
    }
    request.set_page_size(page_size);
    std::vector<std::string> ids;
    int pages = 0;
    do {
      CheckCall call = fresh_call();
      const auto page = checks.lookup_subject(request, call);
      if (!page.ok()) return describe(page.status());
      ids.insert(ids.end(), page->subject_ids().begin(), page->subject_ids().end());
      request.set_continuous_token(page->continuous_token());
    } while (++pages < 1000 && !request.continuous_token().empty());
    return fmt::format("{} ({})", fmt::join(ids, " "), pages);
  }
};

constexpr char kPublic[] = R"(
entity user {}
entity org { relation member @user
  attribute public boolean
  permission visible = public or member }
entity doc { relation a @org
  relation b @org
  relation viewer @user
  relation banned @user
  attribute open boolean
  attribute level integer
  permission view = a.visible or b.visible
  permission calm = viewer not banned
  permission everybody = open or viewer
  permission both = open and everybody
  permission others = open not banned
  permission zero = any(level) }
rule any(level integer) {
  level == 0
}
)";

TEST_SUITE("check/lookups") {
  TEST_CASE("lookup: behind arrows each entity comes once, whichever of two arrows leads to it, page by page") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    fixture.write({"doc:1#a@org:open", "doc:2#b@org:open", "doc:3#a@org:open", "doc:3#b@org:open", "doc:4#b@org:shut",
                   "org:shut#member@user:m"},
                  {"org:open$public|true", "org:shut$public|false"});
    for (const uint32_t size : {0, 1, 2}) {
      const std::string pages = size == 0 ? "(1)" : size == 1 ? "(3)" : "(2)";
      CHECK(fixture.entities("doc#view@user:x", size) == "1 2 3 " + pages);
    }
    CHECK(fixture.entities("doc#view@user:m") == "1 2 3 4 (1)");
    CHECK(fixture.entities("org#visible@user:x", 1) == "open (1)");
  }

  TEST_CASE("lookup: a token is given only when somebody follows") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    fixture.write({"doc:1#viewer@user:a", "doc:2#viewer@user:a", "doc:2#banned@user:a"});
    CHECK(fixture.entities("doc#calm@user:a", 1) == "1 (1)");
    CHECK(fixture.entities("doc#calm@user:nobody", 1) == " (1)");
    CHECK(fixture.subjects("doc:1#calm@user", 1) == "a (1)");
  }

  TEST_CASE("lookup: pages follow the bytes of ids, whatever the database sorts by") {
    const auto database = testing::PostgresDatabase::create(
        "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C' LC_CTYPE 'C'");
    if (database == nullptr) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Lookups fixture(*database);
    fixture.schema(kPublic);
    fixture.write({"doc:B#viewer@user:u", "doc:a#viewer@user:u", "doc:A#viewer@user:u", "doc:b#viewer@user:u",
                   "doc:x#viewer@user:B", "doc:x#viewer@user:a", "doc:x#viewer@user:A"},
                  {"doc:Z$open|true", "doc:z$open|true", "doc:y$open|true"});
    for (const uint32_t size : {1, 2, 3}) {
      CHECK(fixture.entities("doc#calm@user:u", size).find("A B a b (") == 0);
      CHECK(fixture.entities("doc#open@user:u", size).find("Z y z (") == 0);
      CHECK(fixture.subjects("doc:x#calm@user", size).find("A B a (") == 0);
    }
  }

  TEST_CASE("lookup: a rule that holds without a row has its entities, and everybody") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    fixture.write({"doc:1#viewer@user:a", "doc:2#a@org:o"}, {"doc:3$open|false"});
    CHECK(fixture.entities("doc#zero@user:x") == "1 2 3 (1)");
    CHECK(fixture.entities("doc#any@user:x") == "1 2 3 (1)");
    CHECK(fixture.subjects("doc:9#zero@user") == "a (1)");
  }

  TEST_CASE("lookup: the size of a page bounds how many are checked") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    std::vector<std::string> tuples;
    for (int i = 0; i < 900; ++i) tuples.push_back("doc:d" + std::to_string(i) + "#viewer@user:u");
    fixture.write(tuples);
    fixture.reader.look_ups = 0;
    base::v1::PermissionLookupEntityRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata()->set_depth(20);
    request.set_entity_type("doc");
    request.set_permission("calm");
    *request.mutable_subject() = tuple_from("x:x#x@user:u").subject();
    request.set_page_size(1);
    CheckCall call = fixture.fresh_call();
    CHECK(fixture.checks.lookup_entity(request, call)->entity_ids_size() == 1);
    CHECK(fixture.reader.look_ups <= 2 * 4);
    CHECK(fixture.entities("doc#calm@user:u", 250).ends_with("(4)"));
  }

  TEST_CASE("lookup: a caller who goes meanwhile gets an error, never a short page") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    std::vector<std::string> tuples;
    for (int i = 0; i < 200; ++i) tuples.push_back("doc:d" + std::to_string(i) + "#viewer@user:u");
    fixture.write(tuples);
    for (int after = 0; after < 12; ++after) {
      int asked = 0;
      fixture.wanted = [&] { return asked++ < after ? ok_status() : api_error(base::v1::ERROR_CODE_CANCELLED); };
      const std::string answer = fixture.entities("doc#calm@user:u");
      if (asked > after) CHECK(answer == "CANCELLED: ERROR_CODE_CANCELLED");
    }
  }

  TEST_CASE("lookup: everybody by an attribute takes nobody out who is named beside it") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    fixture.write({"doc:1#viewer@user:a", "doc:2#viewer@user:b", "doc:1#banned@user:b", "doc:9#viewer@user:c"},
                  {"doc:1$open|true", "doc:2$open|false"});
    for (int i = 0; i < 3; ++i) {
      CHECK(fixture.subjects("doc:1#everybody@user") == "a b c (1)");
      CHECK(fixture.subjects("doc:1#both@user") == "a b c (1)");
      CHECK(fixture.subjects("doc:1#others@user") == "a c (1)");
      CHECK(fixture.subjects("doc:2#everybody@user") == "b (1)");
    }
  }

  TEST_CASE("lookup: no subject is lost behind groups with small ids, and sets are listed, not looked into") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(
        "entity user {} entity group { relation member @user @group#member }"
        " entity doc { relation viewer @user @group#member }");
    fixture.write({"doc:1#viewer@group:a#member", "group:a#member@user:m", "group:a#member@user:n",
                   "group:a#member@group:b#member", "group:b#member@user:z", "group:b#member@group:a#member",
                   "doc:1#viewer@user:b"});
    for (const uint32_t size : {1, 2, 3}) CHECK(fixture.subjects("doc:1#viewer@user", size).find("b m n z (") == 0);
    CHECK(fixture.subjects("doc:1#viewer@group#member") == "a (1)");
    CHECK(fixture.subjects("group:a#member@group#member") == "b (1)");
    CHECK(fixture.entities("group#member@user:z", 1) == "a b (2)");
    CHECK(fixture.entities("doc#viewer@group:b#member") == "1 (1)");
  }

  TEST_CASE("lookup: a name that nobody knows is an error") {
    HG_POSTGRES(database);
    Lookups fixture(*database);
    fixture.schema(kPublic);
    const std::string unknown = "NOT_FOUND: ERROR_CODE_SCHEMA_NOT_FOUND";
    CHECK(fixture.entities("nope#view@user:a") == unknown);
    CHECK(fixture.entities("doc#nope@user:a") == unknown);
    CHECK(fixture.subjects("doc:1#nope@user") == unknown);
    CHECK(fixture.subjects("doc:1#view@nope") == " (1)");
    CHECK(fixture.entities("doc#view@nope:a") == " (1)");
  }
}

}  // namespace
}  // namespace headgate::engine
