// The examples, as a reader would start them, through kills, restarts and lost connections; after each step what they
// hold is compared with what the engine says.
#include "tests/examples/story.h"
#include "tests/support/engine_session.h"

TEST_SUITE("examples") {
  using namespace headgate::testing;
  using namespace headgate::testing::examples;

  TEST_CASE("through kills, restarts and a lost connection every example ends where the engine is") {
    const auto world = World::create(options_of("from_head"));
    if (world == nullptr) return;
    Cast cast(*world);
    Application application(*world);
    begin(*world, cast);

    // An ordinary day, and one transaction that travels in parts.
    application.work(12);
    application.fill_cache("acme", {"doc:0", "doc:1", "doc:mark"});
    application.work(12);
    EngineSession session(world->database_uri());
    session.begin("globex");
    session.add_many(6000, "many");
    session.commit();
    settle(*world, cast, application);
    compare(*world, cast);

    // The relay is killed, the engine is written to meanwhile.
    application.fill_cache("acme", {"doc:0", "doc:1", "doc:2", "doc:mark", "doc:quiet"});
    application.fill_cache("globex", {"doc:0", "doc:3"});
    world->relay().kill();
    application.work(8);
    world->relay().start();
    application.work(4);
    settle(*world, cast, application);
    compare(*world, cast);

    // The examples are killed; the signal client knows nothing afterwards, and says so.
    for (const char* name : {"copy", "audit", "invalidator"}) {
      application.work(4);
      cast.kill_and_start(name);
    }
    application.work(4);
    cast.kill_and_start("signal");
    settle(*world, cast, application);
    compare(*world, cast);
    if (cast.has("signal")) CHECK(cast.signal()["acme"]["why"] == "joined");

    // A gap: signals that were sent while the client was cut off.
    if (cast.has("signal")) {
      cast["signal"].pause();
      ask_redis(world->redis(), {"CLIENT", "KILL", "TYPE", "pubsub"});
      application.work(4);
      settle(*world, cast, application, "signal");
      cast["signal"].resume();
      // What is sent before it listens again is not heard either; it says when that is.
      CHECK(wait_until([&] { return cast.signal()["acme"]["in_doubt"] == true; }, std::chrono::seconds(60)));
      settle(*world, cast, application);
      compare(*world, cast);
      CHECK(cast.signal()["acme"]["why"].get<std::string>().rfind("missed", 0) == 0);
    }
    // What nobody touched is still cached, and nothing else of that time.
    if (cast.has("invalidator")) CHECK(cast.cache("acme").contains("doc:quiet"));
    if (cast.has("invalidator")) CHECK(!cast.cache("acme").contains("doc:mark"));
    used_server("confluent-kafka, nats.js, go-redis, redis-py");
  }
}
