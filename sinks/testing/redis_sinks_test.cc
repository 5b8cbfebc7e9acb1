#include "sinks/testing/contract.h"
#include "sinks/testing/redis_rig.h"

namespace headgate::sinks {
namespace {

std::unique_ptr<Sink> make_streams(int port, const std::string& prefix, size_t event_bytes_max = 1 << 20) {
  RedisStreamsSettings settings;
  settings.connection = connection_to(port);
  settings.prefix = prefix;
  settings.event_bytes_max = event_bytes_max;
  settings.entries_per_script = 16;
  settings.entries_per_transaction = 16;
  auto sink = make_redis_streams_sink("redis", {}, settings);
  REQUIRE(sink.ok());
  return *std::move(sink);
}

std::unique_ptr<Sink> make_pubsub(int port, const std::string& prefix) {
  RedisPubsubSettings settings;
  settings.connection = connection_to(port);
  settings.prefix = prefix;
  auto sink = make_redis_pubsub_sink("redis", {}, settings);
  REQUIRE(sink.ok());
  return *std::move(sink);
}

Contract contract_of(TestServer& server, bool streams) {
  const std::string prefix = fresh_prefix();
  TestServer* s = &server;
  Contract contract;
  contract.make = [=] { return streams ? make_streams(s->port(), prefix) : make_pubsub(s->port(), prefix); };
  contract.make_limited = [=](size_t bytes) { return make_streams(s->port(), prefix, bytes); };
  contract.make_absent = [=] {
    const int port = testing::free_port();
    return streams ? make_streams(port, prefix) : make_pubsub(port, prefix);
  };
  contract.subscribe = [=] {
    return streams ? testing::subscribe_redis_streams(s->address(), prefix + ":*:changes")
                   : testing::subscribe_redis_pubsub(s->address(), prefix + ":*");
  };
  contract.kill = [=] { s->kill(); };
  contract.start = [=] { s->start(); };
  contract.pause = [=] { s->pause(); };
  contract.resume = [=] { s->resume(); };
  return contract;
}

}  // namespace

TEST_SUITE("redis/streams_sink") {
  TEST_CASE("streams: keep the order per tenant") {
    HG_REDIS(server);
    check_order_per_tenant(contract_of(server, true));
  }
  TEST_CASE("streams: the sink may be closed at any time") {
    HG_REDIS(server);
    check_close(contract_of(server, true));
  }
  TEST_CASE("streams: an absent server is UNAVAILABLE") {
    HG_REDIS(server);
    check_absent_server(contract_of(server, true));
  }
  TEST_CASE("streams: the stop token is honoured while the server hangs") {
    HG_REDIS(server);
    check_stop_token(contract_of(server, true));
  }
  TEST_CASE("streams: a repeated batch is stored once") {
    HG_REDIS(server);
    check_repeated_batch(contract_of(server, true));
  }
  TEST_CASE("streams: tell the last event after they were opened again") {
    HG_REDIS(server);
    check_recover(contract_of(server, true));
  }
  TEST_CASE("streams: control events and a new incarnation are kept, whatever their xid") {
    HG_REDIS(server);
    check_control_events(contract_of(server, true));
  }
  TEST_CASE("streams: an event that is too large is refused with its id") {
    HG_REDIS(server);
    check_oversize(contract_of(server, true));
  }
  TEST_CASE("streams: a stale owner is fenced") {
    HG_REDIS(server);
    check_fence(contract_of(server, true));
  }
  TEST_CASE("streams: a server that is killed loses and repeats nothing") {
    HG_REDIS(server);
    check_server_killed(contract_of(server, true));
  }

  TEST_CASE("streams: a full Redis is RESOURCE_EXHAUSTED and nothing gets in out of order") {
    HG_REDIS(server);
    const Contract contract = contract_of(server, true);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    const auto deliveries = sample_deliveries({"a", "b"}, 200);
    run_command(server, {"CONFIG", "SET", "maxmemory", "1"});
    const WriteResult result = sink->write({deliveries, {}}, {});
    CHECK(result.status.code() == StatusCode::kResourceExhausted);
    CHECK(result.written == 0);
    run_command(server, {"CONFIG", "SET", "maxmemory", "0"});
    CHECK(sink->write({deliveries, {}}, {}).written == 200);
    const auto subscriber = contract.subscribe();
    REQUIRE(subscriber->wait_for(200, std::chrono::seconds(10)));
    std::map<std::string, uint64_t> last;
    for (const auto& event : subscriber->received()) CHECK(event.sequence == ++last[event.tenant]);
  }

  TEST_CASE("streams: a replica is UNAVAILABLE") {
    HG_REDIS(server);
    const auto sink = contract_of(server, true).make();
    REQUIRE(sink->open({}).ok());
    const std::string port = std::to_string(testing::free_port());
    run_command(server, {"REPLICAOF", "127.0.0.1", port});
    CHECK(sink->write({sample_deliveries({"a"}, 1), {}}, {}).status.code() == StatusCode::kUnavailable);
    run_command(server, {"REPLICAOF", "NO", "ONE"});
    REQUIRE(sink->open({}).ok());
    CHECK(sink->write({sample_deliveries({"a"}, 1), {}}, {}).written == 1);
  }

  TEST_CASE("streams: a script whose predecessor is missing is refused") {
    HG_REDIS(server);
    const Contract contract = contract_of(server, true);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    auto deliveries = sample_deliveries({"a"}, 40);
    auto broken = std::make_shared<Event>(*deliveries[20].event);
    broken->payload = std::string(2 << 20, 'x');  // above the limit, in the second script of sixteen
    deliveries[20].event = broken;
    const WriteResult result = sink->write({deliveries, {}}, {});
    CHECK(result.written == 20);
    CHECK(result.status.code() == StatusCode::kInvalidArgument);
    const auto subscriber = contract.subscribe();
    REQUIRE(subscriber->wait_for(20, std::chrono::seconds(10)));
    CHECK(subscriber->count() == 20);
  }

  TEST_CASE("streams: a stream that lost its data is told as such") {
    HG_REDIS(server);
    const Contract contract = contract_of(server, true);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    const auto deliveries = sample_deliveries({"a"}, 3);
    REQUIRE(sink->write({deliveries, {}}, {}).written == 3);
    run_command(server, {"FLUSHALL"});
    const auto held = sink->recover({{"a", cursor_of(deliveries[2])}}, {});
    REQUIRE(held.ok());
    REQUIRE(held->count("a") == 1);
    CHECK(held->at("a").sequence == 0);
    CHECK(sink->write({deliveries, {}}, {}).written == 3);
  }

  TEST_CASE("streams: who reads on from an entry that was lost misses nothing of what follows") {
    HG_REDIS(server);
    for (const bool whole : {false, true}) {
      CAPTURE(whole);
      const std::string prefix = fresh_prefix();
      const std::string stream = prefix + ":{a}:changes", position = prefix + ":{a}:position";
      const auto sink = make_streams(server.port(), prefix);
      REQUIRE(sink->open({}).ok());
      auto deliveries = sample_deliveries({"a"}, 5);
      REQUIRE(sink->write({{&deliveries[0], 2}, {}}, {}).written == 2);
      for (const std::string& key : {stream, position}) run_command(server, {"COPY", key, key + ":old"});
      REQUIRE(sink->write({{&deliveries[2], 3}, {}}, {}).written == 3);
      const std::string read_to =
          std::to_string(deliveries[4].event->xid) + "-" + std::to_string(deliveries[4].event->part);
      // The server comes back with what it had synced.
      for (const std::string& key : {stream, position}) {
        if (whole) run_command(server, {"DEL", key});
        if (!whole) run_command(server, {"COPY", key + ":old", key, "REPLACE"});
      }
      const auto held = sink->recover({{"a", cursor_of(deliveries[4])}}, {});
      REQUIRE(held.ok());
      const size_t left = whole ? 0 : 2;
      REQUIRE(held->at("a").sequence == left);
      for (size_t at = left; at < 5; ++at) deliveries[at].sequence += 5;
      REQUIRE(sink->write({{&deliveries[left], 5 - left}, {}}, {}).written == 5 - left);
      const std::string script = "return #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+')";
      CHECK(run_command(server, {"EVAL", script, "1", stream, read_to}) == std::to_string(5 - left));
      CHECK(sink->recover({{"a", cursor_of(deliveries[4])}}, {})->at("a") == cursor_of(deliveries[4]));
    }
  }

  TEST_CASE("streams: an emptied script cache heals by itself") {
    HG_REDIS(server);
    const auto sink = contract_of(server, true).make();
    REQUIRE(sink->open({}).ok());
    run_command(server, {"SCRIPT", "FLUSH"});
    CHECK(sink->write({sample_deliveries({"a"}, 3), {}}, {}).status.code() == StatusCode::kUnavailable);
    CHECK(deliver_all(*sink, sample_deliveries({"a"}, 3), std::chrono::seconds(5)));
  }

  TEST_CASE("streams: max_length trims old entries") {
    HG_REDIS(server);
    RedisStreamsSettings settings;
    settings.connection = connection_to(server.port());
    settings.prefix = fresh_prefix();
    settings.max_length = 100;
    const auto sink = make_redis_streams_sink("redis", {}, settings);
    REQUIRE(sink.ok());
    REQUIRE((*sink)->open({}).ok());
    const auto deliveries = sample_deliveries({"a"}, 2'000);
    REQUIRE((*sink)->write({deliveries, {}}, {}).written == 2'000);
    const auto subscriber = testing::subscribe_redis_streams(server.address(), settings.prefix + ":*:changes");
    REQUIRE(testing::wait_until([&] {
      const auto received = subscriber->received();
      return !received.empty() && received.back().sequence == 2'000;
    }));
    CHECK(subscriber->count() < 500);
  }

  TEST_CASE("settings: what cannot work is refused") {
    RedisStreamsSettings settings;
    settings.stream = "all";
    CHECK(make_redis_streams_sink("r", {}, settings).status().code() == StatusCode::kInvalidArgument);
  }

  TEST_CASE("connection: password and database are used") {
    std::string why;
    const auto server = start_redis(&why, {"--requirepass", "secret"});
    if (server == nullptr) HG_SKIP(why);
    redis::ClientSettings settings = connection_to(server->port());
    CHECK(!redis::Client(settings).open({}).ok());
    settings.password = "secret";
    settings.database = 3;
    CHECK(redis::Client(settings).open({}).ok());
    settings.user = "default";
    CHECK(redis::Client(settings).open({}).ok());
  }
}

TEST_SUITE("redis/pubsub_sink") {
  TEST_CASE("pubsub: keeps the order per tenant") {
    HG_REDIS(server);
    check_order_per_tenant(contract_of(server, false));
  }
  TEST_CASE("pubsub: heartbeats have channels of their own") {
    HG_REDIS(server);
    check_heartbeats(contract_of(server, false));
  }
  TEST_CASE("pubsub: the sink may be closed at any time") {
    HG_REDIS(server);
    check_close(contract_of(server, false));
  }
  TEST_CASE("pubsub: an absent server is UNAVAILABLE") {
    HG_REDIS(server);
    check_absent_server(contract_of(server, false));
  }
  TEST_CASE("pubsub: the stop token is honoured while the server hangs") {
    HG_REDIS(server);
    check_stop_token(contract_of(server, false));
  }
}

}  // namespace headgate::sinks
