// Sinks that are away or full while events keep coming: Redis stopped, Redis at its maxmemory, a JetStream stream at
// its max_bytes and at its max_msgs.
#include "tests/robustness/jetstream_admin.h"
#include "tests/robustness/survival.h"

TEST_SUITE("robustness/limits") {
  using namespace headgate::testing;

  struct Path {
    World& world;
    std::unique_ptr<RelayProgram> relay;
    std::unique_ptr<Subscriber> redis;
    std::unique_ptr<Subscriber> jetstream;
  };

  // A relay with Redis streams and JetStream, which carry events as they are; the stream is there already.
  Path make_path(World & world) {
    const std::string redis = "port: " + std::to_string(world.redis().port()) + "\nprefix: r\n" + kSmallSink;
    const std::string nats =
        "url: nats://" + world.nats().address() + "\nstream: EVENTS\nprefix: js\nack_timeout: 20s\n" + kSmallSink;
    return {world,
            make_relay(world, "limited", {{"redis", "redis_streams", redis}, {"nats", "nats_jetstream", nats}},
                       kSmallRelay),
            subscribe_redis_streams(world.redis().address(), "r:*:changes"),
            subscribe_jetstream(world.nats().address(), "EVENTS", "js.>")};
  }

  void start(const Path& path, const StreamLimits& limits = {}) {
    make_stream(path.world.nats().address(), "EVENTS", "js.>", limits);
    path.world.create_tenants({"t"});
    path.relay->start();
  }

  TEST_CASE("dead sink: the relay stays small, the other sink is not slowed, and nothing is lost") {
    HG_WORLD(world, {.sinks = {"redis_streams", "nats_jetstream"}, .subscribe = {}});
    const Path path = make_path(*world);
    start(path);
    survive(*world, *path.relay, *path.redis, *path.jetstream,
            {.sink = "redis",
             .other = "nats",
             .begin = [&] { world->redis().stop(); },
             .end = [&] { world->redis().start(); },
             .error = "redis at 127.0.0.1",
             .help = "Connection refused"});
  }

  TEST_CASE("redis at its maxmemory: the same, and it gets the rest when it has memory again") {
    HG_WORLD(world, {.sinks = {"redis_streams", "nats_jetstream"}, .subscribe = {}});
    const Path path = make_path(*world);
    start(path);
    REQUIRE(redis_command(world->redis(), "CONFIG SET maxmemory-policy noeviction") == "+OK");
    survive(*world, *path.relay, *path.redis, *path.jetstream,
            {.sink = "redis",
             .other = "nats",
             .begin = [&] { REQUIRE(redis_command(world->redis(), "CONFIG SET maxmemory 16mb") == "+OK"); },
             .end = [&] { REQUIRE(redis_command(world->redis(), "CONFIG SET maxmemory 0") == "+OK"); },
             .error = "OOM command not allowed",
             .help = "raise maxmemory"});
  }

  TEST_CASE("jetstream at max_bytes: the same, and the server is never brought to drop the oldest events") {
    HG_WORLD(world, {.sinks = {"redis_streams", "nats_jetstream"}, .subscribe = {}});
    const Path path = make_path(*world);
    const std::string address = world->nats().address();
    start(path, {.bytes_max = 14 << 20});
    survive(*world, *path.relay, *path.jetstream, *path.redis,
            {.sink = "nats",
             .other = "redis",
             .end =
                 [&] {
                   CHECK(stream_state(address, "EVENTS").first == 1);
                   change_stream(address, "EVENTS", {});
                 },
             .error = "stream 'EVENTS' is full",
             .help = "raise max_bytes"});
    CHECK(stream_state(address, "EVENTS").first == 1);
  }

  TEST_CASE("jetstream at max_msgs: the same") {
    HG_WORLD(world, {.sinks = {"redis_streams", "nats_jetstream"}, .subscribe = {}});
    const Path path = make_path(*world);
    const std::string address = world->nats().address();
    start(path, {.messages_max = 300});
    survive(*world, *path.relay, *path.jetstream, *path.redis,
            {.sink = "nats",
             .other = "redis",
             .end = [&] { change_stream(address, "EVENTS", {}); },
             .error = "maximum messages exceeded",
             .help = "stream's limits"});
    CHECK(stream_state(address, "EVENTS").first == 1);
  }

  TEST_CASE("jetstream with a stream that drops the oldest: the relay says so when it starts") {
    HG_WORLD(world, {.sinks = {"redis_streams", "nats_jetstream"}, .subscribe = {}});
    const Path path = make_path(*world);
    start(path, {.bytes_max = 1 << 20, .drops_old = true});
    CHECK(wait_until([&] {
      const std::string log = read_file(path.relay->log_file());
      return log.find("jetstream_stream_drops_events") != std::string::npos &&
             log.find("discard=old with max_bytes=1048576") != std::string::npos;
    }));
  }
}
