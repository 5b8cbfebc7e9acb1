#include "engine/gc/collector.h"

#include "engine/storage/postgres_history.h"
#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

GcSettings collect_everything(const testing::PostgresDatabase& database) {
  GcSettings settings;
  settings.uri = database.uri();
  settings.window = Duration(0);
  settings.batch = 3;
  settings.batch_pause = Duration(0);
  settings.holder = "test";
  return settings;
}

// Writes and deletes one tuple `times` times; returns the tokens.
std::vector<SnapToken> churn(const StorageFixture& fixture, const std::string& tenant, int times) {
  std::vector<SnapToken> tokens;
  base::v1::TupleFilter filter;
  filter.mutable_entity()->set_type("doc");
  for (int i = 0; i < times; ++i) {
    tokens.push_back(*fixture.store.writer->write(tenant, {tuple_of("doc", "1", "owner", "x")},
                                                  {attribute_of<base::v1::IntegerValue>("1", "n", i)}));
    tokens.push_back(*fixture.store.writer->remove(tenant, filter, {}));
  }
  return tokens;
}

TEST_SUITE("gc/collector") {
  TEST_CASE("collector: removes what expired before the newest transaction older than the window, in batches") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::vector<SnapToken> tokens = churn(fixture, "unregistered", 5);
    Collector collector(collect_everything(*database), {});
    const auto report = collector.collect_once();
    REQUIRE_MESSAGE(report.ok(), describe(report.status()));
    CHECK(report->tenants == 1);
    CHECK(report->tuples == 4);  // the last one expired at the floor itself, which stays readable
    CHECK(report->attributes == 4);
    CHECK(report->transactions == 9);
    CHECK(database->execute("SELECT id FROM transactions") == std::to_string(tokens.back().xid));
    CHECK(database->execute("SELECT floor FROM headgate.gc_floors") == std::to_string(tokens.back().xid));
    CHECK(read_names(fixture, "unregistered", tokens.back()) == "");
    CHECK(read_head(fixture, "unregistered") == "");

    const auto again = collector.collect_once();
    REQUIRE(again.ok());
    CHECK(again->tenants == 0);
  }

  TEST_CASE("collector: older tokens are refused after a collection, never answered from what is left") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::vector<SnapToken> tokens = churn(fixture, "a", 3);
    REQUIRE(Collector(collect_everything(*database), {}).collect_once().ok());
    for (size_t i = 0; i + 2 < tokens.size(); ++i) {
      const auto page = fixture.store.reader->tuples("a", tokens[i], {}, {.size = 10, .continuous_token = ""});
      CHECK(page.status().code() == StatusCode::kOutOfRange);
    }
    CHECK(fixture.store.reader->tuples("a", tokens.back(), {}, {.size = 10, .continuous_token = ""}).ok());
  }

  TEST_CASE("collector: nothing inside the window is touched") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    churn(fixture, "a", 3);
    GcSettings settings = collect_everything(*database);
    settings.window = Duration(3'600'000);
    const auto report = Collector(settings, {}).collect_once();
    REQUIRE(report.ok());
    CHECK(report->tenants == 0);
    CHECK(database->execute("SELECT count(*) FROM transactions") == "6");
    CHECK(database->execute("SELECT count(*) FROM headgate.gc_floors") == "0");
  }

  TEST_CASE("collector: a token in use holds back the floor of its tenant, also from another process") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::vector<SnapToken> tokens = churn(fixture, "a", 3);
    const std::vector<SnapToken> others = churn(fixture, "b", 3);
    GcSettings watcher = collect_everything(*database);
    watcher.holder = "watcher";
    watcher.collect = false;
    REQUIRE(Collector(watcher,
                      [&] {
                        return std::map<std::string, uint64_t>{{"a", tokens[1].xid}};
                      })
                .collect_once()
                .ok());
    REQUIRE(Collector(collect_everything(*database), {}).collect_once().ok());
    CHECK(database->execute("SELECT floor FROM headgate.gc_floors WHERE tenant_id = 'a'") ==
          std::to_string(tokens[1].xid));
    CHECK(read_names(fixture, "a", tokens[2]) == "1#owner@x");
    CHECK(database->execute("SELECT floor FROM headgate.gc_floors WHERE tenant_id = 'b'") ==
          std::to_string(others.back().xid));
  }

  TEST_CASE("collector: the floor stays below transactions in progress") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::vector<SnapToken> before = churn(fixture, "a", 1);
    pqxx::connection slow(database->uri());
    pqxx::work open(slow);
    open.exec("INSERT INTO transactions (tenant_id) VALUES ('a')");
    churn(fixture, "a", 2);
    REQUIRE(Collector(collect_everything(*database), {}).collect_once().ok());
    CHECK(database->execute("SELECT floor FROM headgate.gc_floors") == std::to_string(before.back().xid));
    CHECK(read_head(fixture, "a") == "");
    open.commit();
    CHECK(read_head(fixture, "a") == "");
  }

  TEST_CASE("collector: stands back while another one collects") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    churn(fixture, "a", 2);
    pqxx::connection other(database->uri());
    pqxx::nontransaction(other).exec(fmt::format("SELECT pg_advisory_lock({})", 0x68656164'67630001));
    const auto report = Collector(collect_everything(*database), {}).collect_once();
    REQUIRE(report.ok());
    CHECK(report->elsewhere);
    CHECK(database->execute("SELECT count(*) FROM transactions") == "4");
  }

  TEST_CASE("collector: of a tenant's life the newest of each kind stays, and whatever a stream still reads") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto kinds = [&] {
      return database->execute("SELECT string_agg(tenant_id || kind, ' ' ORDER BY xid) FROM headgate.tenant_life");
    };
    for (int life = 0; life < 2; ++life) {
      REQUIRE(fixture.store.tenants->create("a", "").ok());
      REQUIRE(fixture.store.schemas->write("a", {{"user", "entity user {}"}}, {}).ok());
      REQUIRE(fixture.store.tenants->remove("a").ok());
    }
    REQUIRE(fixture.store.schemas->write("b", {{"user", "entity user {}"}}, {}).ok());
    fixture.store.writer->write("b", {tuple_of("doc", "1", "owner", "x")}, {}).IgnoreError();
    REQUIRE(fixture.store.schemas->write("b", {{"user", "entity user {}"}}, {}).ok());
    const std::string all = "a1 a3 a2 a1 a3 a2 b3 b3";
    REQUIRE(kinds() == all);
    GcSettings settings = collect_everything(*database);
    settings.batch = 2;
    settings.window = Duration(3'600'000);
    REQUIRE(Collector(settings, {}).collect_once().ok());
    CHECK(kinds() == all);
    settings.window = Duration(0);
    const uint64_t third =
        std::stoull(database->execute("SELECT xid FROM headgate.tenant_life ORDER BY xid LIMIT 1 OFFSET 2"));
    settings.holder = "reads the first removal";
    REQUIRE(Collector(settings, [&] { return std::map<std::string, uint64_t>{{"", third}}; }).collect_once().ok());
    // Nothing of the other one can be collected yet, so neither can its events.
    CHECK(kinds() == "a2 a1 a3 a2 b3 b3");
    database->execute("DELETE FROM headgate.gc_holds");
    const auto report = Collector(settings, {}).collect_once();
    REQUIRE(report.ok());
    CHECK(report->lives == 2);
    CHECK(kinds() == "a1 a3 a2 b3");
  }

  TEST_CASE("collector: what it removes of a tenant's life is never taken for a history that was replaced") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = open_history({.uri = database->uri()});
    REQUIRE(reader.ok());
    std::vector<TransactionIdentity> seen;
    const auto see = [&] { seen.push_back(*(*reader)->newest_below(UINT64_MAX >> 1)); };
    for (const char* tenant : {"no data", "data", "removed"}) {
      REQUIRE(fixture.store.tenants->create(tenant, "").ok());
      see();
      for (int version = 0; version < 2; ++version) {
        REQUIRE(fixture.store.schemas->write(tenant, {{"user", "entity user {}"}}, {}).ok());
        see();
      }
    }
    REQUIRE(fixture.store.writer->write("data", {tuple_of("doc", "1", "owner", "x")}, {}).ok());
    see();
    REQUIRE(fixture.store.tenants->remove("removed").ok());
    see();
    REQUIRE(fixture.store.tenants->create("removed", "").ok());
    see();
    const auto report = Collector(collect_everything(*database), {}).collect_once();
    REQUIRE_MESSAGE(report.ok(), describe(report.status()));
    CHECK(report->lives == 3);
    const auto intact = (*reader)->intact(seen);
    REQUIRE_MESSAGE(intact.ok(), describe(intact.status()));
    CHECK(*intact == std::vector<bool>(seen.size(), true));
  }

  TEST_CASE("collector: its thread collects every interval and stops at once") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    churn(fixture, "a", 2);
    ManualClock clock;
    Collector collector(collect_everything(*database), {}, clock);
    collector.start();
    REQUIRE(testing::wait_until([&] { return clock.sleepers() == 1; }));
    CHECK(database->execute("SELECT count(*) FROM transactions") == "4");
    clock.advance(Duration(180'000));
    CHECK(testing::wait_until([&] { return database->execute("SELECT count(*) FROM transactions") == "1"; }));
  }
}

}  // namespace
}  // namespace headgate::engine
