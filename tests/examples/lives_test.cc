// The examples, as a reader would start them, through the lives of tenants and the losses of a source; after each step
// what they hold is compared with what the engine says.
#include "tests/examples/story.h"
#include "tests/support/engine_session.h"

TEST_SUITE("examples") {
  using namespace headgate::testing;
  using namespace headgate::testing::examples;

  TEST_CASE("a tenant that is deleted and made again, a new schema and a collected history reach every example") {
    const auto world = World::create(options_of("snapshot"));
    if (world == nullptr) return;
    Cast cast(*world);
    Application application(*world);
    world->create_tenants(kTenants);
    cast.start();
    world->relay().start();
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
}
