#include "engine/feed/feed_fixture.h"
#include "engine/storage/storage_fixture.h"

namespace headgate::engine {

namespace {

// "a:created a:write" of what the client has seen.
std::string text(const Client& client) {
  static const char* const kNames[] = {"write", "created", "removed", "schema"};
  std::string out;
  for (size_t i = 0; i < client.seen.size(); ++i) {
    const auto& life = client.lives[i];
    if (!out.empty()) out += ' ';
    out += client.seen[i].tenant + ":" + (life && life->late ? "late-" : "") +
           kNames[life ? static_cast<int>(life->kind) : 0];
  }
  return out;
}

struct World {
  explicit World(const PostgresDatabase& database, FeedSettings settings = quick())
      : store(database), feed(opener(database), settings), writer(database.uri()) {}

  static FeedSettings quick() {
    FeedSettings settings;
    settings.removal_interval = Duration(20);
    return settings;
  }
  void create(const std::string& tenant) { REQUIRE(store.store.tenants->create(tenant, "").ok()); }
  void remove(const std::string& tenant) { REQUIRE(store.store.tenants->remove(tenant).ok()); }
  std::string set_schema(const std::string& tenant) {
    const auto version = store.store.schemas->write(tenant, {{"user", "entity user {}"}}, {});
    REQUIRE(version.ok());
    return *version;
  }
  // A statement of another program.
  void by_others(const std::string& sql) {
    writer.run(sql);
    flush_statistics(writer);
  }

  StorageFixture store;
  Feed feed;
  EngineSession writer;
};

StreamRequest all_of(bool earliest = false) { return {.notices = true, .all_tenants = true, .earliest = earliest}; }

}  // namespace

TEST_SUITE("feed/life") {
  TEST_CASE("life: creation, schema, removal and the next life arrive in their places") {
    HG_POSTGRES(database);
    World world(*database);
    Client all(world.feed, all_of()), named(world.feed, StreamRequest{.tenants = {{"a", ""}}, .notices = true}),
        base(world.feed, "a");
    REQUIRE(all.open());
    REQUIRE(named.open());
    REQUIRE(base.open());
    world.create("a");
    const std::string version = world.set_schema("a");
    world.writer.write("a", "1");
    CHECK(all.receives(3));
    CHECK(base.receives(1));
    world.remove("a");
    world.create("a");
    CHECK(all.receives(5));
    world.writer.write("a", "2");
    CHECK(all.receives(6));
    CHECK(text(all) == "a:created a:schema a:write a:removed a:created a:write");
    CHECK(named.receives(6));
    CHECK(text(named) == text(all));
    CHECK(all.lives[1]->schema_version == version);
    CHECK(all.notices.empty());
    // A base client sees the writes alone, and goes on.
    CHECK(base.receives(2));
    CHECK(text(base) == "a:write a:write");
    CHECK(wait_until([&] { return base.pull() && base.position > all.xids().back(); }));
    // Every event is a place to resume at.
    const std::vector<uint64_t> xids = all.xids();
    for (const ptrdiff_t i : {3, 4}) {
      Client resumed(world.feed,
                     StreamRequest{.tenants = {{"a", all.tokens[static_cast<size_t>(i)]}}, .notices = true});
      CHECK(resumed.receives(all.seen.size() - static_cast<size_t>(i) - 1));
      CHECK(resumed.xids() == std::vector<uint64_t>(xids.begin() + i + 1, xids.end()));
    }
  }

  TEST_CASE("life: history in front of the ring has the same events") {
    HG_POSTGRES(database);
    StorageFixture before(*database);
    EngineSession writer(database->uri());
    REQUIRE(before.store.tenants->create("a", "").ok());
    REQUIRE(before.store.schemas->write("a", {{"user", "entity user {}"}}, {}).ok());
    writer.write("a", "1");
    writer.write("b", "1");
    World world(*database);
    Client all(world.feed, all_of(true));
    CHECK(all.receives(4));
    CHECK(text(all) == "a:created a:schema a:write b:write");
    Client named(world.feed, StreamRequest{.tenants = {{"a", ""}}, .notices = true, .earliest = true});
    CHECK(named.receives(3));
    CHECK(text(named) == "a:created a:schema a:write");
    Client base(world.feed, StreamRequest{.tenants = {{"a", encode_legacy_token(0)}}});
    CHECK(base.receives(1));
    CHECK(text(base) == "a:write");
    // The audit counts events of both kinds.
    CHECK(world.feed.stats().audit_missing == 0);
  }

  TEST_CASE("life: the audit finds nothing missing among events and writes") {
    HG_POSTGRES(database);
    FeedSettings settings = World::quick();
    settings.audit_interval = Duration(50);
    settings.audit_delay = Duration(20);
    World world(*database, settings);
    REQUIRE(wait_until([&] { return world.feed.stats().connected; }));
    // The auditor's range begins when it first looks.
    int lives = 0;
    CHECK(wait_until([&] {
      const std::string tenant = "a" + std::to_string(++lives);
      world.create(tenant);
      world.set_schema(tenant);
      world.writer.write(tenant, "1");
      return world.feed.stats().audited >= 10;
    }));
    CHECK(world.feed.stats().audit_missing == 0);
  }

  TEST_CASE("life: what another program does to a tenant arrives late, and says so") {
    HG_POSTGRES(database);
    World world(*database);
    Client all(world.feed, all_of()), named(world.feed, StreamRequest{.tenants = {{"p", ""}}, .notices = true});
    REQUIRE(all.open());
    REQUIRE(named.open());
    world.by_others("INSERT INTO tenants (id) VALUES ('p')");
    CHECK(all.receives(1));
    world.by_others(
        "INSERT INTO schema_definitions (tenant_id, name, version, serialized_definition) VALUES"
        " ('p', 'user', '00000000000000000001', '')");
    CHECK(all.receives(2));
    world.by_others("DELETE FROM schema_definitions WHERE tenant_id = 'p'");
    world.by_others("DELETE FROM tenants WHERE id = 'p'");
    CHECK(all.receives(3));
    CHECK(text(all) == "p:late-created p:late-schema p:late-removed");
    CHECK(named.receives(3));
    CHECK(named.xids() == all.xids());
    CHECK(all.notices.empty());
  }

  TEST_CASE("life: what a removal took from the history in front of the ring is not told in part") {
    HG_POSTGRES(database);
    StorageFixture before(*database);
    EngineSession writer(database->uri());
    writer.write("other", "0");
    const std::string start = encode_position_token(writer.write("other", "1"));
    REQUIRE(before.store.tenants->create("a", "").ok());
    const uint64_t missing = writer.write("a", "1");
    REQUIRE(before.store.schemas->write("a", {{"user", "entity user {}"}}, {}).ok());
    // A stream from the beginning reads one event at a time up to here from the database, and goes on in the ring.
    FeedSettings settings = World::quick();
    settings.catch_up_bytes = 1;
    World world(*database, settings);
    REQUIRE(wait_until([&] { return world.feed.stats().connected; }));
    Client live(world.feed, all_of());
    REQUIRE(live.open());
    writer.write("a", "2");
    CHECK(live.receives(1));
    world.remove("a");
    CHECK(live.receives(2));
    for (const bool again : {false, true}) {
      if (again) {
        world.create("a");
        writer.write("a", "3");
        CHECK(live.receives(4));
      }
      CAPTURE(again);
      const std::string expected = std::string("a:created a:schema a:removed") + (again ? " a:created a:write" : "");
      Client named(world.feed, StreamRequest{.tenants = {{"a", start}}, .notices = true});
      CHECK(named.receives(again ? 5 : 3));
      CHECK(text(named) == expected);
      Client all(world.feed, StreamRequest{.notices = true, .all_tenants = true, .others_token = start});
      CHECK(all.receives(again ? 6 : 4));
      CHECK(text(all) == "other:write " + expected);
      CHECK(all.notices.empty());
      // A position says that everything in front of it was sent.
      Client slow(world.feed,
                  StreamRequest{.notices = true, .all_tenants = true, .ahead = true, .others_token = start});
      while (slow.seen.size() < 4 && slow.pull({.items_max = 1})) {
        if (slow.seen.size() < 4) CHECK(slow.position <= missing);
      }
      CHECK(wait_until([&] { return slow.pull() && slow.position > all.seen[3].xid; }));
    }
  }

  TEST_CASE("life: who goes on from the middle of a life that is over is told its end, and nothing in part") {
    HG_POSTGRES(database);
    World world(*database);
    Client all(world.feed, all_of());
    REQUIRE(all.open());
    world.create("a");
    world.writer.write("a", "1");
    world.set_schema("a");
    world.writer.write("a", "2");
    // The ring has it all by then.
    REQUIRE(all.receives(4));
    world.remove("a");
    world.create("a");
    world.writer.write("a", "3");
    REQUIRE(all.receives(7));
    // From another pod, which had come to the schema when the removal had taken the write in front of it along.
    StreamRequest request{.tenants = {{"a", all.tokens[2]}}, .notices = true, .ahead = true};
    Client resumed(world.feed, request);
    CHECK(resumed.receives(3));
    CHECK(text(resumed) == "a:removed a:created a:write");
    CHECK(wait_until([&] { return resumed.pull() && resumed.position > all.xids().back(); }));
  }

  TEST_CASE("life: a removal does not hide that the history in front of it was collected before the ring had it") {
    HG_POSTGRES(database);
    World world(*database);
    REQUIRE(wait_until([&] { return world.feed.stats().connected; }));
    world.create("a");
    const std::string start = encode_legacy_token(world.writer.write("a", "1"));
    // The feed waits for this one.
    EngineSession slow(database->uri());
    slow.begin("b");
    for (const char* name : {"2", "3", "4"}) world.writer.write("a", name);
    world.writer.collect("a");
    slow.add("1");
    slow.commit();
    world.writer.write("b", "2");
    Client seen(world.feed, StreamRequest{.tenants = {{"b", ""}}, .notices = true, .earliest = true});
    CHECK(seen.receives(2));
    for (const bool removed : {false, true}) {
      if (removed) {
        world.remove("a");
        world.create("a");
        world.writer.write("a", "5");
      }
      CAPTURE(removed);
      Client named(world.feed, StreamRequest{.tenants = {{"a", start}, {"b", ""}}, .notices = true, .earliest = true});
      CHECK(named.receives(2));
      CHECK(text(named) == "b:write b:write");
      REQUIRE(named.notices.size() == 1);
      CHECK(named.notices[0].reason == kHistoryGone);
    }
  }

  TEST_CASE("life: where events cannot be recorded, a removal is a notice") {
    HG_POSTGRES(database);
    { StorageFixture prepared(*database); }
    database->execute("DROP TABLE headgate.tenant_life, headgate.tenants_known");
    Feed feed(opener(*database), World::quick());
    EngineSession writer(database->uri());
    Client some(feed, StreamRequest{.tenants = {{"c", ""}}, .notices = true});
    REQUIRE(some.open());
    const auto listed = [&] {
      return database->execute(
                 "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
                 " AND query LIKE 'SELECT id FROM tenants %'") != "0";
    };
    // The first look only learns who is there, and shows for a moment as a session's last statement. When that moment
    // was missed, the tenant comes and goes once more.
    REQUIRE(wait_until([&] {
      writer.run("INSERT INTO tenants (id, name) VALUES ('c', '') ON CONFLICT DO NOTHING");
      flush_statistics(writer);
      wait_until(listed, Duration(500));
      writer.run("DELETE FROM tenants WHERE id = 'c'");
      flush_statistics(writer);
      return wait_until([&] { return some.pull() && !some.notices.empty(); }, Duration(500));
    }));
    CHECK(some.notices.back().tenant == "c");
    CHECK(some.notices.back().removed);
    CHECK(some.seen.empty());
  }
}

}  // namespace headgate::engine
