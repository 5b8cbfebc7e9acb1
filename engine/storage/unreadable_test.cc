// Reads over rows that are no values: a call says which row, a snapshot leaves it out and names it.
#include "engine/storage/unreadable.h"

#include "engine/model/reasons.h"
#include "engine/storage/snapshot_reader.h"
#include "engine/storage/storage_fixture.h"
#include "tests/support/engine_session.h"

namespace headgate::engine {

namespace {

using testing::EngineSession;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Three attributes of doc:7, of which the middle one is no value, and a tuple.
uint64_t write_state(const std::string& uri) {
  EngineSession session(uri);
  const uint64_t xid = session.begin("t");
  session.add("1");
  session.set("7", "a", R"({"@type": "type.googleapis.com/base.v1.BooleanValue", "data": true})");
  session.set("7", "b", R"(["no value"])");
  session.set("7", "c", R"({"@type": "type.googleapis.com/base.v1.BooleanValue"})");
  session.commit();
  return xid;
}

}  // namespace

TEST_SUITE("storage/unreadable") {
  TEST_CASE("unreadable: names are shown whatever their bytes are, and long lists are counted") {
    CHECK(shown("a\xff\n") == "a\\xff\\n");
    CHECK(shown(std::string(200, 'x')) == std::string(128, 'x') + "…");
    CHECK(is_tenant_name("t1"));
    for (const char* name : {"", "\xc3", "\xed\xa0\x80"}) CHECK_FALSE(is_tenant_name(name));
    UnreadableRows rows;
    for (int i = 0; i < 25; ++i) rows.add(fmt::format("row {}", i));
    CHECK(rows.texts.size() == UnreadableRows::kTextsMax);
    CHECK(contains(rows.text(), "row 19; and 5 more"));
  }

  TEST_CASE("unreadable: a read that meets such a row fails and names it, other reads of the tenant do not") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    write_state(database->uri());
    const SnapToken head = *fixture.store.reader->head("t");
    const PageRequest page{.size = 10, .continuous_token = ""};
    const auto all = fixture.store.reader->attributes("t", head, {}, page);
    CHECK(all.status().code() == StatusCode::kInternal);
    CHECK(contains(message_of(all.status()), "ERROR_CODE_SCAN"));
    CHECK(contains(message_of(all.status()), "row 2 of attributes (doc:7$b): "));
    base::v1::AttributeFilter filter;
    filter.add_attributes("c");
    const auto other = fixture.store.reader->attributes("t", head, filter, page);
    REQUIRE(other.ok());
    CHECK(other->items.size() == 1);
    CHECK(read_head(fixture, "t") == "1#owner@u");
  }

  TEST_CASE("unreadable: a snapshot has everything else and names the row, in pages of any size") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const uint64_t xid = write_state(database->uri());
    const auto reader = make_snapshot_reader(fixture.pool);
    for (const size_t bytes : {size_t{1}, size_t{1 << 20}}) {
      CAPTURE(bytes);
      std::string continuation, found, untold;
      do {
        const auto page = reader->read({"t", xid + 1, continuation, bytes, 0}, ok_status);
        REQUIRE_MESSAGE(page.ok(), describe(page.status()));
        base::v1::DataChanges changes;
        REQUIRE(changes.ParseFromString(page->changes));
        for (const auto& change : changes.data_changes()) {
          found += change.has_tuple() ? "tuple " : change.attribute().attribute() + " ";
        }
        for (const std::string& row : page->unreadable.texts) untold += row;
        continuation = page->continuation;
      } while (!continuation.empty());
      CHECK(found == "tuple a c ");
      CHECK(contains(untold, "row of attributes (doc 7 b): "));
    }
  }

  TEST_CASE("unreadable: a bundle that is none is named, and tenants without a name do not hide the others") {
    const auto database = testing::PostgresDatabase::create("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    if (database == nullptr) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    StorageFixture fixture(*database);
    EngineSession session(database->uri());
    session.run("INSERT INTO bundles (name, payload, tenant_id) VALUES ('b', '[1]', 't')");
    const auto bundle = fixture.store.bundles->read("t", "b");
    CHECK(bundle.status().code() == StatusCode::kInternal);
    CHECK(contains(message_of(bundle.status()), "row of bundles (b of tenant t)"));
    session.run(
        "INSERT INTO tenants (id, name, created_at) VALUES ('', 'x', now()), ('\xff', 'x', now()),"
        " ('early', 'x', '-infinity'), ('late', '\xff', 'infinity')");
    const auto listed = fixture.store.tenants->list({.size = 10, .continuous_token = ""});
    REQUIRE(listed.ok());
    std::string names;
    for (const auto& tenant : listed->items) names += tenant.id() + "=" + tenant.name() + " ";
    CHECK(names == "early=x late= t1=example tenant ");
  }
}

}  // namespace headgate::engine
