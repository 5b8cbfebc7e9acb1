// The examples, as a reader would start them, through the lives of tenants and the losses of a source; after each step
// what they hold is compared with what the engine says.
#include "tests/examples/story.h"
#include "tests/support/engine_session.h"

TEST_SUITE("examples") {
  using namespace headgate::testing;
  using namespace headgate::testing::examples;
  using namespace std::chrono_literals;

  TEST_CASE("a tenant that is deleted and made again, a new schema and a collected history reach every example") {
    const auto world = World::create(options_of("snapshot"));
    if (world == nullptr) return;
    Cast cast(*world);
    Application application(*world);
    begin(*world, cast);
    application.work(8);
    settle(*world, cast, application);

    // Deleted and made again under the eyes of the relay.
    application.fill_cache("acme", {"doc:0", "doc:1", "doc:mark"});
    application.remove("acme");
    world->create_tenants({"acme"});
    application.work(8);
    settle(*world, cast, application);
    compare(*world, cast);

    // The same while the relay is away.
    application.fill_cache("globex", {"doc:0", "doc:1", "doc:mark"});
    world->relay().kill();
    application.remove("globex");
    world->create_tenants({"globex"});
    application.work(8);
    world->relay().start();
    settle(*world, cast, application);
    compare(*world, cast);
    for (const std::string& tenant : kTenants) {
      CHECK(count_of(*world, tenant, "dev.headgate.tenant.removed.v1") == 1);
      CHECK(count_of(*world, tenant, "dev.headgate.tenant.created.v1") == 2);
      CHECK(count_of(*world, tenant, "dev.headgate.schema.changed.v1") == 2);
    }

    // What the relay still needed is collected: a gap, and a snapshot that makes up for it.
    application.fill_cache("acme", {"doc:0", "doc:1", "doc:mark"});
    world->relay().kill();
    application.work(8);
    EngineSession(world->database_uri()).collect("acme");
    world->relay().start();
    settle(*world, cast, application);
    compare(*world, cast);
    CHECK(count_of(*world, "acme", "dev.headgate.feed.gap.v1") == 1);
    CHECK(count_of(*world, "acme", "dev.headgate.feed.snapshot-end.v1") == 1);
    CHECK(count_of(*world, "globex", "dev.headgate.feed.gap.v1") == 0);
  }

  // As Permify does, without the record that our engine makes.
  void permify_removes(EngineSession & sql, const std::string& tenant) {
    sql.run("BEGIN");
    for (const char* table : {"relation_tuples", "attributes", "schema_definitions", "bundles", "transactions"}) {
      sql.run(std::string("DELETE FROM ") + table + " WHERE tenant_id = '" + tenant + "'");
    }
    sql.run("DELETE FROM tenants WHERE id = '" + tenant + "'");
    sql.run("COMMIT");
  }

  // The stream of a tenant in Redis, and what the sink knows of it.
  void copy_keys(World & world, const std::string& from, const std::string& to, const std::string& pattern) {
    for (const auto& key : ask_redis(world.redis(), {"KEYS", from + pattern})) {
      const std::string name = key.get<std::string>();
      ask_redis(world.redis(), {"COPY", name, to + name.substr(from.size()), "REPLACE"});
    }
  }

  TEST_CASE("heartbeats, a late removal, a refused event and a sink that lost some are known to every example") {
    WorldOptions options = options_of("snapshot");
    for (auto& [sink, yaml] : options.sink_yaml) yaml += "    heartbeat: {scope: tenant, interval: 500ms}\n";
    options.sink_yaml["redis_streams"] += "    event_bytes_max: 16KiB\n";
    const auto world = World::create(options);
    if (world == nullptr) return;
    Cast cast(*world);
    Application application(*world);
    begin(*world, cast);
    application.work(8);
    settle(*world, cast, application);
    CHECK(wait_until([&] { return count_of(*world, "acme", "dev.headgate.feed.heartbeat.v1") > 2; }));
    compare(*world, cast);

    // Deleted by a Permify beside our engine: found by comparison, and told late. What our engine makes is told in
    // time.
    EngineSession sql(world->database_uri());
    application.fill_cache("acme", {"doc:0", "doc:1", "doc:mark"});
    permify_removes(sql, "acme");
    REQUIRE(wait_until([&] { return count_of(*world, "acme", "dev.headgate.tenant.removed.v1") == 1; }, 40s));
    world->create_tenants({"acme"});
    application.work("acme", 8);
    settle(*world, cast, application);
    compare(*world, cast);

    // One sink refuses a transaction that the others take; a snapshot makes up for it.
    sql.begin("globex");
    sql.add_many(400, "wide");
    sql.commit();
    settle(*world, cast, application);
    compare(*world, cast, {{"globex", "EVENT_REFUSED"}});
    sql.begin("globex");
    sql.run(
        "UPDATE relation_tuples SET expired_tx_id = pg_current_xact_id() WHERE tenant_id = 'globex' AND "
        "entity_id LIKE 'wide%' AND expired_tx_id = '9223372036854775807'::xid8");
    sql.commit();
    settle(*world, cast, application);
    world->relay().kill();
    application.work(8);
    sql.collect("globex");
    world->relay().start();
    settle(*world, cast, application);
    compare(*world, cast);

    // A sink that was put back to an older state: what it lost comes again, behind a gap.
    const std::string keys = world->prefix() + ":{acme}";
    copy_keys(*world, keys, "kept", "*");
    application.work("acme", 8);
    settle(*world, cast, application);
    copy_keys(*world, "kept", keys, "*");
    ask_redis(world->redis(), {"CLIENT", "KILL", "TYPE", "normal"});
    settle(*world, cast, application);
    compare(*world, cast, {{"acme", "SINK_LOST_EVENTS"}});
  }
}
