// Starts at the oldest transaction: complete, or saying that something is missing.
#include "engine/feed/feed_fixture.h"
#include "engine/storage/postgres_datastore.h"

namespace headgate::engine {

namespace {

// Collects by hand what lies in front of `floor`, as the collector does.
void collect(EngineSession& session, const std::string& tenant, uint64_t floor) {
  session.run(fmt::format("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('{}', '{}')", tenant, floor));
  session.run(fmt::format("DELETE FROM transactions WHERE tenant_id = '{}' AND id < '{}'", tenant, floor));
}

std::string told(const Client& client) {
  std::vector<std::string> all;
  for (const StreamNotice& notice : client.notices) {
    all.push_back(fmt::format("{} {} {} {}", notice.tenant, notice.reason, notice.starts_later, notice.position));
  }
  std::ranges::sort(all);
  return fmt::format("{}", fmt::join(all, ", "));
}

}  // namespace

TEST_SUITE("feed/earliest") {
  TEST_CASE("earliest: a collected history begins at its floor and says so, named or not") {
    HG_PREPARED(database);
    EngineSession session(database->uri());
    session.write("plain", "1");
    const uint64_t floor = session.write("plain", "2");
    session.write("whole", "1");
    session.write("silent", "1");
    const uint64_t silent = session.write("silent", "2");
    collect(session, "plain", floor);
    // By a collector that records no floor.
    session.run(fmt::format("DELETE FROM transactions WHERE tenant_id = 'silent' AND id < '{}'", silent));
    Feed feed(opener(*database));
    StreamRequest request{.notices = true, .all_tenants = true, .earliest = true};
    SUBCASE("by pattern") {}
    SUBCASE("by name") { request.tenants = {{"plain", ""}, {"whole", ""}, {"silent", ""}}; }
    Client client(feed, request);
    CHECK(client.receives(3));
    CHECK(told(client) ==
          fmt::format("plain HISTORY_STARTS_LATER true {}, silent HISTORY_STARTS_LATER true {}", floor, silent));
    session.write("plain", "3");
    CHECK(client.receives(4));
    CHECK(check_complete(truth(*database), client.seen, "plain", floor - 1) == "");
    CHECK(check_complete(truth(*database), client.seen, "whole", 0) == "");
  }

  TEST_CASE("earliest: a removal in front of the present life is not missed history") {
    HG_PREPARED(database);
    PoolSettings settings;
    settings.uri = database->uri();
    const Datastore store = std::move(*make_postgres_datastore(std::make_shared<Pool>(settings)));
    EngineSession session(database->uri());
    REQUIRE(store.tenants->create("reborn", "r").ok());
    session.write("reborn", "old");
    REQUIRE(store.tenants->remove("reborn").ok());
    REQUIRE(store.tenants->create("reborn", "r").ok());
    session.write("reborn", "new");
    Feed feed(opener(*database));
    StreamRequest request{.notices = true, .all_tenants = true, .earliest = true};
    SUBCASE("by pattern") {}
    SUBCASE("by name") { request.tenants = {{"reborn", ""}}; }
    Client client(feed, request);
    CHECK(client.receives(2));
    CHECK(told(client) == "");
    REQUIRE(client.lives.size() == 2);
    REQUIRE(client.lives[0]);
    CHECK(client.lives[0]->kind == LifeEvent::Kind::kCreated);
    CHECK(client.seen[1].changes == std::vector<std::string>{"+new"});
  }

  TEST_CASE("earliest: a token in front of a removal goes on with it and the new life, whatever its form") {
    HG_PREPARED(database);
    PoolSettings settings;
    settings.uri = database->uri();
    const Datastore store = std::move(*make_postgres_datastore(std::make_shared<Pool>(settings)));
    EngineSession session(database->uri());
    REQUIRE(store.tenants->create("reborn", "r").ok());
    const uint64_t last = session.write("reborn", "old");
    std::string token, write = write_token(session, last);
    SUBCASE("of an event") { token = encode_legacy_token(last); }
    SUBCASE("of a write") { token = write; }
    SUBCASE("of a position") { token = encode_position_token(last + 1); }
    REQUIRE(store.tenants->remove("reborn").ok());
    REQUIRE(store.tenants->create("reborn", "r").ok());
    session.write("reborn", "new");
    Feed feed(opener(*database));
    Client client(feed, StreamRequest{.tenants = {{"reborn", token}}, .notices = true});
    CHECK_MESSAGE(client.receives(3), told(client));
    CHECK(told(client) == "");
    REQUIRE(client.lives.size() == 3);
    CHECK(client.lives[0]->kind == LifeEvent::Kind::kRemoved);
    CHECK(client.lives[1]->kind == LifeEvent::Kind::kCreated);
    CHECK(client.seen[2].changes == std::vector<std::string>{"+new"});
  }
}

}  // namespace headgate::engine
