// Streams that tenants share, the index of streams, heartbeats, rights that are taken away, and what the version before
// has left behind.
#include <set>

#include "base/redis/slots.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/redis_rig.h"
#include "tests/support/subscriber_redis_index.h"

namespace headgate::sinks {
namespace {

constexpr Fence kSharedFence{7};

struct SharedPlace {
  explicit SharedPlace(TestServer& server, std::string stream = "{prefix}:{{{shard}}}:changes") : server(server) {
    settings.connection = connection_to(server.port());
    settings.prefix = fresh_prefix();
    settings.stream = std::move(stream);
    settings.shards = 4;
    settings.entries_per_transaction = 16;
  }

  std::unique_ptr<Sink> open() const {
    auto sink = make_redis_streams_sink("redis", {}, settings);
    REQUIRE_MESSAGE(sink.ok(), describe(sink.status()));
    const Status opened = (*sink)->open({});
    REQUIRE_MESSAGE(opened.ok(), describe(opened));
    return *std::move(sink);
  }
  std::string key(const std::string& tail) const { return settings.prefix + ":" + tail; }
  std::string stream_of(const std::string& tenant) const {
    return key(fmt::format("{{{}}}:changes", redis::crc16(tenant) % settings.shards));
  }
  std::unique_ptr<testing::Subscriber> reader() const {
    return testing::subscribe_redis_index(settings.connection, key("{streams}"));
  }
  // Sequences by tenant, without heartbeats; `count` is with them.
  std::map<std::string, std::vector<uint64_t>> stored(size_t count) const {
    const auto subscriber = reader();
    CHECK(subscriber->wait_for_all(count, std::chrono::seconds(10)));
    std::map<std::string, std::vector<uint64_t>> sequences;
    for (const auto& event : subscriber->received()) {
      if (event.type != "dev.headgate.feed.heartbeat.v1") sequences[event.tenant].push_back(event.sequence);
    }
    return sequences;
  }

  TestServer& server;
  RedisStreamsSettings settings;
};

std::vector<uint64_t> dense(uint64_t count) {
  std::vector<uint64_t> numbers(count);
  for (uint64_t i = 0; i < count; ++i) numbers[i] = i + 1;
  return numbers;
}

std::map<std::string, Cursor> cursors_of(const std::vector<Delivery>& deliveries) {
  std::map<std::string, Cursor> cursors;
  for (const Delivery& delivery : deliveries) cursors[delivery.event->tenant] = cursor_of(delivery);
  return cursors;
}

std::vector<std::string> tenants_named(size_t count) {
  std::vector<std::string> tenants;
  for (size_t i = 0; i < count; ++i) tenants.push_back(fmt::format("t{}", i));
  return tenants;
}

}  // namespace

TEST_SUITE("redis/shared_streams") {
  TEST_CASE("shared streams: a thousand tenants have four streams and one index, and each its own order") {
    HG_REDIS(server);
    const SharedPlace place(server);
    const auto sink = place.open();
    CHECK(run_command(server, {"SCARD", place.key("{streams}")}) == "4");  // before the first event
    CHECK(run_command(server, {"XLEN", place.key("{streams}:new")}) == "4");
    const auto deliveries = sample_deliveries(tenants_named(1'000), 5'000, 20);
    for (size_t at = 0; at < deliveries.size(); at += 500) {
      REQUIRE(sink->write({{&deliveries[at], 500}, kSharedFence}, {}).written == 500);
      REQUIRE(sink->write({{&deliveries[at], 500}, kSharedFence}, {}).written ==
              500);  // an acknowledgement that was lost
    }
    const auto stored = place.stored(5'000);
    REQUIRE(stored.size() == 1'000);
    for (const auto& entry : stored) REQUIRE(entry.second == dense(5));
    const auto held = place.open()->recover(cursors_of(deliveries), {});
    REQUIRE(held.ok());
    CHECK(*held == cursors_of(deliveries));
  }

  TEST_CASE(
      "shared streams: a backlog goes by transactions behind the first event, repeats nothing and can be resumed") {
    HG_REDIS(server);
    const SharedPlace place(server);
    const auto sink = place.open();
    const auto deliveries = sample_deliveries({"a", "b", "c", "d", "e"}, 1'000, 20);
    REQUIRE(sink->write({{&deliveries[0], 500}, kSharedFence}, {}).written == 500);
    REQUIRE(place.open()->write({{&deliveries[400], 600}, kSharedFence}, {}).written == 600);
    const auto stored = place.stored(1'000);
    for (const auto& entry : stored) CHECK(entry.second == dense(200));
    CHECK(place.open()->recover(cursors_of(deliveries), {}).value() == cursors_of(deliveries));
    const WriteResult stale = sink->write({{&deliveries[995], 5}, {6}}, {});
    CHECK(stale.status.code() == StatusCode::kFailedPrecondition);
  }

  TEST_CASE("shared streams: one that is deleted has lost the events of all its tenants, and of no other") {
    HG_REDIS(server);
    const SharedPlace place(server);
    const auto sink = place.open();
    const auto deliveries = sample_deliveries(tenants_named(20), 400, 20);
    REQUIRE(sink->write({deliveries, kSharedFence}, {}).written == 400);
    const std::string lost = place.stream_of("t0");
    run_command(server, {"DEL", lost});
    // Somebody else's event makes it anew.
    std::string neighbour;
    for (const std::string& tenant : tenants_named(20)) {
      if (tenant != "t0" && place.stream_of(tenant) == lost) neighbour = tenant;
    }
    REQUIRE(neighbour != "");
    std::vector<Delivery> of_neighbour;
    for (const Delivery& delivery : deliveries) {
      if (delivery.event->tenant == neighbour) of_neighbour.push_back(delivery);
    }
    REQUIRE(sink->write({of_neighbour, kSharedFence}, {}).written == 20);
    const auto held = sink->recover(cursors_of(deliveries), {});
    REQUIRE(held.ok());
    for (const auto& [tenant, cursor] : *held) {
      const bool gone = place.stream_of(tenant) == lost && tenant != neighbour;
      const uint64_t sequence = cursor.sequence;
      CHECK(sequence == (gone ? 0 : 20));
    }
    REQUIRE(sink->write({deliveries, kSharedFence}, {}).written == 400);
    for (const auto& entry : place.stored(400)) CHECK(entry.second == dense(20));
  }

  TEST_CASE("shared streams: another number of shards is refused, because tenants would change their streams") {
    HG_REDIS(server);
    SharedPlace place(server);
    place.open();
    place.settings.shards = 5;
    auto sink = make_redis_streams_sink("redis", {}, place.settings);
    REQUIRE(sink.ok());
    const Status refused = (*sink)->open({});
    CHECK_FALSE(refused.ok());
    CHECK(message_of(refused).find("shards: 4") != std::string::npos);
  }

  TEST_CASE("streams: the index names new streams before they have an entry") {
    HG_REDIS(server);
    const SharedPlace place(server, RedisStreamsSettings().stream);
    const auto sink = place.open();
    REQUIRE(sink->write({sample_deliveries({"a", "b"}, 4), kSharedFence}, {}).written == 4);
    CHECK(run_command(server, {"SISMEMBER", place.key("{streams}"), place.key("{a}:changes")}) == "1");
    CHECK(run_command(server, {"XLEN", place.key("{streams}:new")}) == "2");
    REQUIRE(place.open()->write({sample_deliveries({"a", "c"}, 6), kSharedFence}, {}).written == 6);
    CHECK(run_command(server, {"XLEN", place.key("{streams}:new")}) == "3");
    CHECK(run_command(server, {"SCARD", place.key("{streams}")}) == "3");
  }

  TEST_CASE("streams: tenants whose cursor is missing are found, each once") {
    HG_REDIS(server);
    for (const std::string& stream : {RedisStreamsSettings().stream, SharedPlace(server).settings.stream}) {
      CAPTURE(stream);
      const SharedPlace place(server, stream);
      const auto deliveries = sample_deliveries({"a", "b:{c}", "d"}, 300, 20);
      REQUIRE(place.open()->write({deliveries, kSharedFence}, {}).written == 300);
      const auto sink = place.open();
      CHECK(sink->recover({}, {}).value() == cursors_of(deliveries));
      CHECK(sink->recover({{"a", cursor_of(deliveries[3])}, {"never", {}}}, {}).value() == cursors_of(deliveries));
    }
  }

  TEST_CASE("settings: templates that cannot work are refused") {
    const auto refusal = [](const std::function<void(RedisStreamsSettings&)>& change) {
      RedisStreamsSettings settings;
      change(settings);
      return message_of(make_redis_streams_sink("mine", {}, settings).status());
    };
    CHECK(refusal([](auto& s) { s.stream = "{prefix}:changes"; }).find("{tenant}") != std::string::npos);
    CHECK(refusal([](auto& s) { s.stream = "{prefix}:{shard}:{tenant}"; }).find("either") != std::string::npos);
    CHECK(refusal([](auto& s) { s.position = "{prefix}:p"; }).find("position") != std::string::npos);
    CHECK(refusal([](auto& s) { s.index = "{prefix}:{tenant}"; }).find("index") != std::string::npos);
    CHECK(refusal([](auto& s) { s.stream = "{tenant"; }).find("sink 'mine'") != std::string::npos);
    CHECK(refusal([](auto& s) { s.stream = "{prefix}:{shard}", s.shards = 0; }).find("shards") != std::string::npos);
    CHECK(refusal([](auto& s) { s.connection.mode = redis::Mode::kCluster; }).find("addresses") != std::string::npos);
  }
}

TEST_SUITE("redis/heartbeats") {
  TEST_CASE("heartbeats: go behind everything, and change no place") {
    HG_REDIS(server);
    for (const std::string& stream : {RedisStreamsSettings().stream, SharedPlace(server).settings.stream}) {
      CAPTURE(stream);
      const SharedPlace place(server, stream);
      const auto sink = place.open();
      const auto deliveries = sample_deliveries({"a", "b"}, 80, 20);
      REQUIRE(sink->write({{&deliveries[0], 40}, kSharedFence}, {}).written == 40);
      const std::vector<TenantMark> marks{{"a", 20, "token-1038"}, {"b", 20, "token-1039"}, {"never", 0, ""}};
      for (const bool by_tenant : {true, false, true}) {
        Heartbeat heartbeat{1'040, "token-p", "1-1", 1'700'000'000'000'000, {}};
        if (by_tenant) heartbeat.tenants = marks;
        const Status sent = sink->heartbeat(heartbeat, {});
        REQUIRE_MESSAGE(sent.ok(), describe(sent));
        const std::vector<Delivery> written(deliveries.begin(), deliveries.begin() + 40);
        CHECK(sink->recover(cursors_of(written), {}).value() == cursors_of(written));
      }
      const auto subscriber = place.reader();
      const auto beats = [&] {
        size_t count = 0;
        for (const auto& event : subscriber->received())
          count += event.type == "dev.headgate.feed.heartbeat.v1" ? 1 : 0;
        return count;
      };
      // Twice one for each tenant that has events, once one for each stream.
      const size_t wanted = 4 + (stream.find("{shard}") != std::string::npos ? 4 : 2);
      CHECK(testing::wait_until([&] { return beats() >= wanted; }));
      for (const std::string& fault : subscriber->faults()) FAIL_CHECK(fault);
      // What comes next is stored once, whichever way it goes.
      REQUIRE(sink->write({{&deliveries[30], 12}, kSharedFence}, {}).written == 12);
      REQUIRE(sink->write({{&deliveries[42], 38}, kSharedFence}, {}).written == 38);
      for (const auto& entry : place.stored(80 + wanted)) CHECK(entry.second == dense(40));
    }
  }

  TEST_CASE("heartbeats: pub/sub sends them to each tenant's channel") {
    HG_REDIS(server);
    RedisPubsubSettings settings;
    settings.connection = connection_to(server.port());
    settings.prefix = fresh_prefix();
    const auto sink = make_redis_pubsub_sink("redis", {}, settings);
    REQUIRE(sink.ok());
    REQUIRE((*sink)->open({}).ok());
    const auto subscriber = testing::subscribe_redis_pubsub(server.address(), settings.prefix + ":*");
    REQUIRE(subscriber->wait_ready(std::chrono::seconds(10)));
    const std::vector<TenantMark> marks{{"a", 3, "x"}, {"b", 4, "y"}};
    CHECK((*sink)->heartbeat({9, "token", "1-1", 1, marks}, {}).ok());
    CHECK((*sink)->heartbeat({9, "token", "1-1", 1, {}}, {}).ok());
    REQUIRE(subscriber->wait_for_all(3, std::chrono::seconds(10)));
    for (const std::string& fault : subscriber->faults()) FAIL_CHECK(fault);
    CHECK(subscriber->received()[1].tenant == "b");
  }
}

TEST_SUITE("redis/rights") {
  TEST_CASE("rights: what is taken away holds the sink back, blames no event and loses none") {
    HG_REDIS(server);
    SharedPlace place(server, RedisStreamsSettings().stream);
    run_command(server, {"ACL", "SETUSER", "relay", "on", ">rpw", "~" + place.settings.prefix + ":*", "+@all"});
    place.settings.connection.user = "relay";
    place.settings.connection.password = "rpw";
    const auto deliveries = sample_deliveries({"a"}, 100, 20);
    const auto sink = place.open();
    REQUIRE(sink->write({{&deliveries[0], 3}, kSharedFence}, {}).written == 3);
    run_command(server, {"ACL", "SETUSER", "relay", "resetkeys", "~other:*"});
    for (const size_t count : {7, 90}) {  // by script, and by transaction
      const WriteResult refused = sink->write({{&deliveries[3], count}, kSharedFence}, {});
      CHECK(refused.written == 0);
      CHECK(refused.status.code() == StatusCode::kPermissionDenied);
      CHECK(message_of(refused.status).find("NOPERM") != std::string::npos);
    }
    CHECK((*make_redis_streams_sink("redis", {}, place.settings))->open({}).code() == StatusCode::kPermissionDenied);
    CHECK_FALSE(sink->recover({{"a", cursor_of(deliveries[2])}}, {}).ok());
    run_command(server, {"ACL", "SETUSER", "relay", "resetkeys", "~" + place.settings.prefix + ":*"});
    REQUIRE(sink->write({{&deliveries[3], 97}, kSharedFence}, {}).written == 97);
    place.settings.connection = connection_to(server.port());
    CHECK(place.stored(100)["a"] == dense(100));
    run_command(server, {"ACL", "DELUSER", "relay"});
  }

  TEST_CASE("rights: a password that is changed is PERMISSION_DENIED") {
    HG_REDIS(server);
    RedisStreamsSettings settings = SharedPlace(server).settings;
    settings.connection.password = "wrong";
    const auto sink = make_redis_streams_sink("redis", {}, settings);
    CHECK((*sink)->open({}).code() == StatusCode::kPermissionDenied);
  }
}

TEST_SUITE("redis/versions") {
  TEST_CASE("versions: a position of the version before is believed, and gets what it lacks with the next event") {
    HG_REDIS(server);
    const SharedPlace place(server, RedisStreamsSettings().stream);
    const auto deliveries = sample_deliveries({"a"}, 60, 20);
    REQUIRE(place.open()->write({{&deliveries[0], 20}, kSharedFence}, {}).written == 20);
    run_command(server, {"HDEL", place.key("{a}:position"), "identity", "snapshot"});
    run_command(server, {"DEL", place.key("{streams}"), place.key("{streams}:new")});
    const auto sink = place.open();
    Cursor before = cursor_of(deliveries[19]);
    before.identity.clear();
    CHECK(sink->recover({{"a", cursor_of(deliveries[19])}}, {})->at("a") == before);
    REQUIRE(sink->write({{&deliveries[15], 10}, kSharedFence}, {}).written == 10);
    CHECK(sink->recover({{"a", {}}}, {})->at("a") == cursor_of(deliveries[24]));
    REQUIRE(sink->write({{&deliveries[25], 35}, kSharedFence}, {}).written == 35);
    CHECK(sink->recover({{"a", {}}}, {})->at("a") == cursor_of(deliveries[59]));
    CHECK(place.stored(60)["a"] == dense(60));
  }
}

}  // namespace headgate::sinks
