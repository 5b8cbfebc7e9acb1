// More quiet tenants than one request to the engine could name.
#include <pqxx/pqxx>

#include "tests/robustness/pressure.h"
#include "tests/support/engine_session.h"

TEST_SUITE("robustness/limits_tenants") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  TEST_CASE("many tenants: the relay opens its stream again, whatever number of them is quiet") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    const std::string config = world->folder() + "/engine.yaml";
    std::string text = read_file(config);
    write_file(config, text.insert(text.find("server:\n") + 8, "  receive_bytes_max: 64KiB\n"));
    world->engine().stop();
    world->engine().start();
    EngineSession session(world->database_uri());
    session.run("INSERT INTO tenants (id, name) SELECT 'quiet-' || g, '' FROM generate_series(1, 3000) g");
    session.write("quiet-1", "1");
    world->relay().start();
    Subscriber& file = world->subscriber("file");
    REQUIRE(file.wait_for(1, 20s));
    REQUIRE(wait_until([&] { return sink_status(world->relay(), "file")["uncommitted"] == 0; }));
    CHECK(world->relay().stop() == 0);
    session.write("quiet-2", "2");
    world->relay().start();
    CHECK_MESSAGE(file.wait_for(2, 20s), world->relay().status());
    // Also when only the stream breaks.
    world->engine().stop();
    session.write("quiet-3", "3");
    world->engine().start();
    CHECK_MESSAGE(file.wait_for(3, 30s), world->relay().status());
    CHECK(file.faults() == std::vector<std::string>{});
  }
}
