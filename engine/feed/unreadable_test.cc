// Rows that are no values, as somebody leaves them who writes with SQL by hand: they concern their own tenant.
#include "engine/feed/feed_fixture.h"

namespace headgate::engine {

namespace {

// With an attribute doc:7$note of this value.
uint64_t write_value(const PostgresDatabase& database, const std::string& tenant, const std::string& json,
                     const std::string& beside = "beside") {
  EngineSession session(database.uri());
  const uint64_t xid = session.begin(tenant);
  session.add(beside);
  session.set("7", "note", json);
  session.commit();
  return xid;
}

StreamRequest everything(const std::string& others_token = "") {
  return {.notices = true, .all_tenants = true, .others_token = others_token};
}

// "tenant/xid" of what was received, parts of one transaction once.
std::vector<std::string> received(const Client& client) {
  std::vector<std::string> all;
  for (const SeenMessage& message : client.seen) {
    if (message.part == 0) all.push_back(fmt::format("{}/{}", message.tenant, message.xid));
  }
  return all;
}

bool contains(const std::string& text, std::initializer_list<std::string> parts) {
  return std::ranges::all_of(parts, [&](const std::string& part) { return text.find(part) != std::string::npos; });
}

std::vector<std::string> bad_values() {
  return {
      R"("text")",
      "[]",
      "null",
      "7",
      "{}",
      R"({"@type": "type.googleapis.com/no.such.Value"})",
      R"({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"})",
      R"({"@type": "type.googleapis.com/base.v1.IntegerValue", "data": "many"})",
      R"({"@type": "type.googleapis.com/base.v1.StringValue", "other": 1})",
      R"({"@type": "type.googleapis.com/base.v1.StringValue", "data": ")" + std::string(5'000, 'x') + R"(", "o": 1})",
      R"({"@type": "type.googleapis.com/base.v1.StringValue", "data": )" + std::string(900, '[') +
          std::string(900, ']') + "}"};
}

}  // namespace

TEST_SUITE("feed/unreadable") {
  TEST_CASE("unreadable: a value that is none is told in its place, and stops no other tenant, live or from history") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    Client live(feed, everything());
    REQUIRE(live.open());
    const std::string start = encode_position_token(live.opening->position);
    std::vector<std::string> written;
    for (const std::string& json : bad_values()) {
      const std::string name = fmt::format("d{}", written.size());
      written.push_back(fmt::format("good/{}", EngineSession(database->uri()).write("good", name)));
      written.push_back(fmt::format("bad/{}", write_value(*database, "bad", json, name)));
    }
    written.push_back(fmt::format("good/{}", EngineSession(database->uri()).write("good", "after")));
    REQUIRE(live.receives(written.size()));
    Feed other(opener(*database));
    Client late(other, everything(start));
    REQUIRE(late.receives(written.size()));
    for (const Client* client : {&live, &late}) {
      CHECK(received(*client) == written);
      // An overwritten value is a deletion of a row that is no value either.
      REQUIRE(client->unreadable.size() == bad_values().size());
      CHECK(contains(client->unreadable.front(), {"bad/", "row ", " of attributes (doc:7$note): "}));
    }
    CHECK(live.seen[1].more_parts);
    CHECK(live.seen[2].changes == std::vector<std::string>{"+d0"});
    CHECK(live.tokens[2] == encode_legacy_token(live.seen[2].xid));
    CHECK(feed.stats().reconnects == 0);
    CHECK(feed.stats().unreadable_rows == 2 * bad_values().size() - 1);
  }

  TEST_CASE(
      "unreadable: a client of base.v1 gets everything in front of it, then an error that names row, tenant and a way "
      "on") {
    HG_PREPARED(database);
    for (const bool from_history : {false, true}) {
      CAPTURE(from_history);
      auto feed = std::make_unique<Feed>(opener(*database));
      auto bad = std::make_unique<Client>(*feed, "bad");
      Client good(*feed, "good");
      REQUIRE(bad->open());
      REQUIRE(good.open());
      const std::string start = bad->opening->snap_token;
      EngineSession session(database->uri());
      session.write("bad", "before");
      const uint64_t xid = write_value(*database, "bad", "[]");
      session.write("bad", "behind");
      session.write("good", "behind");
      if (from_history) {
        bad.reset();
        feed = std::make_unique<Feed>(opener(*database));
        bad = std::make_unique<Client>(*feed, "bad", start);
      }
      REQUIRE(bad->ends());
      CHECK(bad->end.code() == StatusCode::kDataLoss);
      CHECK(reason_of(bad->end) == kRowUnreadable);
      CHECK(contains(message_of(bad->end), {fmt::format("transaction {} of tenant bad", xid),
                                            " of attributes (doc:7$note): ", encode_legacy_token(xid)}));
      REQUIRE(bad->seen.size() == 1);
      CHECK(bad->seen[0].changes == std::vector<std::string>{"+before"});
      Client behind(*feed, "bad", encode_legacy_token(xid));
      CHECK(behind.receives(1));
      CHECK(behind.seen[0].changes == std::vector<std::string>{"+behind"});
      if (!from_history) CHECK(good.receives(1));
      session.run("DELETE FROM attributes; DELETE FROM relation_tuples");
    }
  }

  TEST_CASE(
      "unreadable: times that are none, life events of unknown kinds or on a transaction's xid, tenants without a "
      "name") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    Client live(feed, everything());
    REQUIRE(live.open());
    const std::string start = encode_position_token(live.opening->position);
    EngineSession session(database->uri());
    int names = 0;
    const auto by_hand = [&](const std::string& tenant, const std::string& sql) {
      const uint64_t xid = session.begin(tenant);
      session.add(fmt::format("d{}", ++names));
      session.run(sql);
      session.commit();
      return xid;
    };
    const std::string own = " WHERE id = pg_current_xact_id()";
    for (const char* time : {"infinity", "-infinity", "4000-01-01 BC", "294276-12-31"}) {
      by_hand("times", fmt::format("UPDATE transactions SET \"timestamp\" = '{}'{}", time, own));
    }
    by_hand("times", "UPDATE transactions SET \"timestamp\" = NULL" + own);
    by_hand("lives", "INSERT INTO headgate.tenant_life (tenant_id, kind) VALUES ('lives', 3)");
    session.run("BEGIN; LOCK TABLE transactions IN ROW EXCLUSIVE MODE");
    session.run(
        "INSERT INTO headgate.tenant_life (tenant_id, kind, started_at) VALUES ('lives', 12, 'infinity'); COMMIT");
    by_hand("", "SELECT 1");
    session.write("good", "after");
    REQUIRE(live.receives(8));
    Feed other(opener(*database));
    Client late(other, everything(start));
    REQUIRE(late.receives(8));
    for (const Client* client : {&live, &late}) {
      CHECK(client->unreadable.size() == 2);
      CHECK(contains(client->unreadable[0],
                     {"lives/", "headgate.tenant_life", "its xid is that of another transaction"}));
      CHECK(contains(client->unreadable[1], {"lives/", "headgate.tenant_life", "kind 12 is unknown"}));
      CHECK(std::ranges::none_of(client->seen, [](const SeenMessage& message) { return message.tenant.empty(); }));
      CHECK(client->seen.back().tenant == "good");
    }
    CHECK(feed.stats().unreadable_rows == 3);
    CHECK(feed.stats().reconnects == 0);
  }

  TEST_CASE("unreadable: bytes that are no UTF-8, which a database of the encoding SQL_ASCII holds") {
    const auto database = PostgresDatabase::create("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    if (database == nullptr) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    Feed feed(opener(*database));
    Client live(feed, everything());
    REQUIRE(live.open());
    const std::string start = encode_position_token(live.opening->position);
    EngineSession session(database->uri());
    session.begin("bad");
    session.add("\xff\xfe");
    session.add("readable");
    session.commit();
    write_value(*database, "bad", "{\"@type\": \"type.googleapis.com/base.v1.StringValue\", \"data\": \"\xff\"}");
    session.write("\xc3", "x");
    session.write("good", "after");
    REQUIRE(live.receives(3));
    Feed other(opener(*database));
    Client late(other, everything(start));
    REQUIRE(late.receives(3));
    for (const Client* client : {&live, &late}) {
      REQUIRE(client->unreadable.size() == 2);
      CHECK(contains(client->unreadable[0], {"of relation_tuples (doc:\\xff\\xfe#owner)", "no UTF-8"}));
      CHECK(contains(client->unreadable[1], {"of attributes (doc:7$note)"}));
      CHECK(client->seen[1].changes == std::vector<std::string>{"+readable"});
      CHECK(client->seen.back().tenant == "good");
    }
  }
}

}  // namespace headgate::engine
