// The fast way into the streams: that it is taken, and what it leaves to the script.
#include <set>
#include <thread>

#include "sinks/redis/stream_transaction.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/redis_rig.h"
#include "tests/support/fault_proxy.h"

namespace headgate::sinks {
namespace {

constexpr Fence kTransactionFence{7};

struct Rig {
  explicit Rig(TestServer& server) : server(server) {
    settings.connection = connection_to(server.port());
    settings.prefix = fresh_prefix();
    settings.entries_per_transaction = 32;
  }

  std::unique_ptr<Sink> open_sink() const {
    auto sink = make_redis_streams_sink("redis", {}, settings);
    REQUIRE(sink.ok());
    const Status opened = (*sink)->open({});
    REQUIRE_MESSAGE(opened.ok(), describe(opened));
    return *std::move(sink);
  }
  std::string key(const std::string& tenant, const std::string& end) const {
    return settings.prefix + ":{" + tenant + "}:" + end;
  }
  std::string length(const std::string& tenant) const { return run_command(server, {"XLEN", key(tenant, "changes")}); }
  // Sequences in the stream's order.
  std::map<std::string, std::vector<uint64_t>> stored(size_t count) const {
    const auto subscriber = testing::subscribe_redis_streams(server.address(), settings.prefix + ":*:changes");
    REQUIRE_MESSAGE(subscriber->wait_for(count, std::chrono::seconds(20)), subscriber->count());
    for (const std::string& fault : subscriber->faults()) FAIL_CHECK(fault);
    std::map<std::string, std::vector<uint64_t>> sequences;
    for (const auto& event : subscriber->received()) sequences[event.tenant].push_back(event.sequence);
    return sequences;
  }
  // Everything once and in order.
  void check_exact(const std::vector<std::string>& tenants, size_t each) const {
    const auto sequences = stored(tenants.size() * each);
    CHECK(sequences.size() == tenants.size());
    for (const auto& entry : sequences) {
      const auto& tenant = entry.first;
      const auto& got = entry.second;
      REQUIRE_MESSAGE(got.size() == each, tenant);
      for (size_t i = 0; i < got.size(); ++i) REQUIRE(got[i] == i + 1);
      CHECK(length(tenant) == std::to_string(each));
    }
  }

  TestServer& server;
  RedisStreamsSettings settings;
};

// What the server has run of a command so far.
uint64_t calls(TestServer& server, const std::string& command) {
  const std::string stats = run_command(server, {"INFO", "commandstats"});
  const std::string label = "cmdstat_" + command + ":calls=";
  const size_t at = stats.find(label);
  return at == std::string::npos ? 0 : std::stoull(stats.substr(at + label.size()));
}

// How often the script has run that adds events; that of a look begins with EXISTS.
uint64_t adding_scripts(TestServer& server) { return calls(server, "evalsha") - calls(server, "exists"); }

// One chunk whose two steps are sent by hand.
struct Steps {
  explicit Steps(const Rig& rig, std::span<const Delivery> deliveries, Fence fence = kTransactionFence)
      : settings(rig.settings), client(settings.connection), events{deliveries, fence} {
    batch.emplace(events, *StreamRoutes::make(settings));
    REQUIRE(client.open({}).ok());
    Connection& connection = *client.any();
    REQUIRE(looks.load(connection, {}).ok());
    for (TenantRun& run : batch->runs()) transaction.add_share({&run, 0, run.end});
  }
  bool look() {
    Connection& connection = *client.any();
    connection.append(transaction.look());
    transaction.encode(*batch, encoder);
    std::vector<Reply> replies;
    REQUIRE(connection.exchange(replies, {}).ok());
    return transaction.may_run(*batch, replies);
  }
  StreamTransaction::Outcome run() {
    Connection& connection = *client.any();
    connection.append(transaction.body());
    std::vector<Reply> replies;
    REQUIRE(connection.exchange(replies, {}).ok());
    return transaction.outcome(replies);
  }

  const RedisStreamsSettings settings;
  const Encoder encoder = *Encoder::make({});
  redis::Client client;
  Batch events;
  std::optional<StreamBatch> batch;
  LookScript looks;
  StreamTransaction transaction{looks, settings};
};

using Outcome = StreamTransaction::Outcome;

}  // namespace

TEST_SUITE("redis/transactions") {
  TEST_CASE("transactions: a backlog goes without the script, also its first events") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto sink = rig.open_sink();
    const auto deliveries = sample_deliveries({"a", "b", "c"}, 600);
    const uint64_t scripts = adding_scripts(server);
    const uint64_t transactions = calls(server, "exec");
    REQUIRE(sink->write({{&deliveries[0], 300}, kTransactionFence}, {}).written == 300);
    REQUIRE(sink->write({{&deliveries[300], 300}, kTransactionFence}, {}).written == 300);
    CHECK(adding_scripts(server) == scripts);
    CHECK(calls(server, "exec") == transactions + 20);  // ten of 32 events for each write
    rig.check_exact({"a", "b", "c"}, 200);
    // Both ways write the same position.
    const auto last = sample_deliveries({"a", "b", "c"}, 603);
    REQUIRE(sink->write({{&last[600], 3}, kTransactionFence}, {}).written == 3);
    CHECK(adding_scripts(server) == scripts + 3);
    const auto held = sink->recover({{"a", {}}, {"b", {}}, {"c", {}}}, {});
    REQUIRE(held.ok());
    CHECK(held->at("a") == cursor_of(last[600]));
    rig.check_exact({"a", "b", "c"}, 201);
  }

  TEST_CASE("transactions: only tenants with many events in a batch take them") {
    HG_REDIS(server);
    Rig rig(server);
    rig.settings.entries_per_transaction = 256;
    const auto sink = rig.open_sink();
    auto deliveries = sample_deliveries({"a"}, 100);
    const auto few = sample_deliveries({"b", "c", "d"}, 30);
    deliveries.insert(deliveries.begin() + 50, few.begin(), few.end());
    const uint64_t scripts = adding_scripts(server);
    const uint64_t transactions = calls(server, "exec");
    REQUIRE(sink->write({deliveries, kTransactionFence}, {}).written == 130);
    CHECK(adding_scripts(server) == scripts + 3);
    CHECK(calls(server, "exec") == transactions + 1);
    const auto sequences = rig.stored(130);
    CHECK(sequences.at("a").size() == 100);
    CHECK(sequences.at("d").size() == 10);
  }

  TEST_CASE("transactions: leave the position that recover() and the script understand") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto sink = rig.open_sink();
    auto deliveries = sample_deliveries({"a"}, 100);
    auto part = std::make_shared<Event>(*deliveries[99].event);
    part->more_parts = true;
    part->part = 4;
    deliveries[99].event = part;
    REQUIRE(sink->write({deliveries, kTransactionFence}, {}).written == 100);
    CHECK(rig.open_sink()->recover({{"a", {}}}, {})->at("a") == cursor_of(deliveries[99]));
    CHECK(run_command(server, {"HGET", rig.key("a", "position"), "epoch"}) == "7");
    CHECK(run_command(server, {"HGET", rig.key("a", "position"), "id"}) == "1099-4");
  }

  TEST_CASE("transactions: an owner with a higher epoch between look and EXEC wins") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto deliveries = sample_deliveries({"t", "u"}, 80);
    const auto older = rig.open_sink();
    REQUIRE(older->write({{&deliveries[0], 40}, {4}}, {}).written == 40);
    Steps steps(rig, {&deliveries[40], 40}, {4});
    REQUIRE(steps.look());
    REQUIRE(rig.open_sink()->write({{&deliveries[40], 1}, {5}}, {}).written == 1);
    CHECK(steps.run() == Outcome::kNotRun);
    CHECK(rig.length("t") == "21");
    CHECK(rig.length("u") == "20");  // not even the tenant that the newer owner has not touched
    const WriteResult stale = older->write({{&deliveries[40], 40}, {4}}, {});
    CHECK(stale.written == 0);
    CHECK(stale.status.code() == StatusCode::kFailedPrecondition);
  }

  TEST_CASE("transactions: an owner who only takes the epoch between look and EXEC wins") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto deliveries = sample_deliveries({"t"}, 80);
    REQUIRE(rig.open_sink()->write({{&deliveries[0], 40}, {4}}, {}).written == 40);
    Steps steps(rig, {&deliveries[40], 40}, {4});
    REQUIRE(steps.look());
    // A repeat: nothing is added.
    REQUIRE(rig.open_sink()->write({{&deliveries[39], 1}, {5}}, {}).written == 1);
    CHECK(steps.run() == Outcome::kNotRun);
    CHECK_FALSE(Steps(rig, {&deliveries[40], 40}, {4}).look());
    CHECK(Steps(rig, {&deliveries[40], 40}, {5}).look());
  }

  TEST_CASE("transactions: keys that vanish or appear between look and EXEC stop the chunk") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto deliveries = sample_deliveries({"t"}, 80);
    Steps first(rig, {&deliveries[0], 40});
    REQUIRE(first.look());
    run_command(server, {"XADD", rig.key("t", "changes"), "5-5", "foreign", "entry"});
    CHECK(first.run() == Outcome::kNotRun);
    run_command(server, {"DEL", rig.key("t", "changes")});
    REQUIRE(rig.open_sink()->write({{&deliveries[0], 40}, kTransactionFence}, {}).written == 40);
    for (const std::string& key : {rig.key("t", "changes"), rig.key("t", "position")}) {
      Steps steps(rig, {&deliveries[40], 40});
      REQUIRE(steps.look());
      run_command(server, {"RENAME", key, "aside"});
      CHECK(steps.run() == Outcome::kNotRun);
      CHECK_FALSE(Steps(rig, {&deliveries[40], 40}).look());
      run_command(server, {"RENAME", "aside", key});
    }
    REQUIRE(rig.open_sink()->write({{&deliveries[40], 40}, kTransactionFence}, {}).written == 40);
    rig.check_exact({"t"}, 80);
  }

  TEST_CASE("transactions: what is not strictly behind the position is left to the script") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto sink = rig.open_sink();
    auto deliveries = sample_deliveries({"t"}, 120);
    REQUIRE(sink->write({{&deliveries[0], 60}, kTransactionFence}, {}).written == 60);
    CHECK_FALSE(Steps(rig, {&deliveries[59], 40}).look());
    CHECK(Steps(rig, {&deliveries[60], 40}).look());
    // The event before is missing: a chunk was refused, and its follower must not get in.
    const auto has = [&](std::span<const Delivery> batch, size_t begin) {
      Steps steps(rig, batch);
      steps.transaction.shares()[0].begin = begin;
      return steps.look();
    };
    CHECK(has({&deliveries[59], 61}, 1));
    CHECK_FALSE(has({&deliveries[60], 60}, 1));
    auto other = std::make_shared<Event>(*deliveries[60].event);
    other->incarnation = "2-1";
    deliveries[60].event = other;
    CHECK_FALSE(Steps(rig, {&deliveries[60], 1}).look());
    CHECK_FALSE(Steps(rig, {&deliveries[60], 2}).look());
    const uint64_t discarded = calls(server, "discard");
    deliveries.resize(61);
    REQUIRE(sink->write({deliveries, kTransactionFence}, {}).written == 61);
    CHECK(calls(server, "discard") > discarded);
    rig.check_exact({"t"}, 61);
  }

  TEST_CASE("transactions: a stream whose last id is not the position's is left to the script") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto sink = rig.open_sink();
    const auto deliveries = sample_deliveries({"t"}, 160);
    REQUIRE(sink->write({{&deliveries[0], 80}, kTransactionFence}, {}).written == 80);
    // Somebody wrote behind us, in the way of the ids to come, and took it back.
    run_command(server, {"XADD", rig.key("t", "changes"), "5000-0", "foreign", "entry"});
    run_command(server, {"XDEL", rig.key("t", "changes"), "5000-0"});
    CHECK_FALSE(Steps(rig, {&deliveries[80], 40}).look());
    REQUIRE(sink->write({{&deliveries[80], 80}, kTransactionFence}, {}).written == 80);
    CHECK(run_command(server, {"HGET", rig.key("t", "position"), "id"}) == "5000-80");
    rig.check_exact({"t"}, 160);
  }

  TEST_CASE("transactions: lost answers repeat nothing and lose nothing") {
    HG_REDIS(server);
    Rig rig(server);
    testing::FaultProxy proxy(server.port());
    rig.settings.connection = connection_to(proxy.port());
    const std::vector<std::string> tenants = {"a", "b", "c"};
    const auto deliveries = sample_deliveries(tenants, 3'000);
    auto sink = make_redis_streams_sink("redis", {}, rig.settings);
    REQUIRE(sink.ok());
    for (size_t at = 0; at < deliveries.size(); at += 300) {
      // Among the answers to a look, to what is queued and to EXEC.
      proxy.reset_after(testing::FaultProxy::kToClient, 700 + at * 3);
      REQUIRE(deliver_all(**sink, {&deliveries[at], 300}, std::chrono::seconds(60)));
    }
    CHECK(proxy.counters().resets > 5);
    rig.check_exact(tenants, 1'000);
  }

  TEST_CASE("transactions: two owners at a time store everything once") {
    HG_REDIS(server);
    const Rig rig(server);
    const std::vector<std::string> tenants = {"a", "b"};
    const auto deliveries = sample_deliveries(tenants, 8'000);
    const auto write_from = [&](Sink& sink, size_t at, Fence fence) {
      for (; at < deliveries.size(); at += 200) {
        const WriteResult result = sink.write({{&deliveries[at], 200}, fence}, {});
        if (!result.status.ok()) return result.status.code();
      }
      return StatusCode::kOk;
    };
    const auto older = rig.open_sink();
    const auto newer = rig.open_sink();
    StatusCode end_of_older = StatusCode::kOk;
    std::jthread thread([&] { end_of_older = write_from(*older, 0, {4}); });
    const std::string key = rig.key("a", "changes");
    REQUIRE(testing::wait_until([&] { return std::stoull(run_command(server, {"XLEN", key})) >= 400; }));
    // The newer one knows nothing and sends all again.
    CHECK(write_from(*newer, 0, {5}) == StatusCode::kOk);
    thread.join();
    CHECK(end_of_older == StatusCode::kFailedPrecondition);
    rig.check_exact(tenants, 4'000);
  }

  TEST_CASE("transactions: a refused event lets its followers wait, and others pass") {
    HG_REDIS(server);
    Rig rig(server);
    rig.settings.event_bytes_max = 20'000;
    const auto sink = rig.open_sink();
    auto deliveries = sample_deliveries({"a", "b"}, 200);
    auto broken = std::make_shared<Event>(*deliveries[100].event);
    broken->payload = std::string(30'000, 'x');
    deliveries[100].event = broken;
    const WriteResult result = sink->write({deliveries, kTransactionFence}, {});
    CHECK(result.written == 100);
    CHECK(result.status.code() == StatusCode::kInvalidArgument);
    CHECK(rig.length("a") == "50");
    CHECK(rig.length("b") == "100");
  }

  TEST_CASE("transactions: large events are spread over chunks, and the largest go by the script") {
    HG_REDIS(server);
    Rig rig(server);
    rig.settings.event_bytes_max = 4 << 20;
    rig.settings.entries_per_transaction = 256;
    const auto sink = rig.open_sink();
    const auto deliveries = sample_deliveries({"a", "b"}, 200, 40'000);
    const uint64_t scripts = adding_scripts(server);
    const uint64_t transactions = calls(server, "exec");
    REQUIRE(sink->write({deliveries, kTransactionFence}, {}).written == 200);
    CHECK(adding_scripts(server) == scripts);
    CHECK(calls(server, "exec") >= transactions + 7);
    rig.check_exact({"a", "b"}, 100);
    auto more = sample_deliveries({"a", "b"}, 300);
    more[250] = sample_deliveries({"a", "b"}, 251, 1'500'000)[250];
    REQUIRE(sink->write({{&more[200], 100}, kTransactionFence}, {}).written == 100);
    CHECK(adding_scripts(server) > scripts);
    rig.check_exact({"a", "b"}, 150);
  }

  TEST_CASE("transactions: a look does not fetch entries, which may be large") {
    HG_REDIS(server);
    Rig rig(server);
    auto deliveries = sample_deliveries({"a"}, 400);
    deliveries[0] = sample_deliveries({"a"}, 1, 1'000'000)[0];
    REQUIRE(rig.open_sink()->write({{&deliveries[0], 1}, kTransactionFence}, {}).written == 1);
    testing::FaultProxy proxy(server.port());
    rig.settings.connection = connection_to(proxy.port());
    const auto sink = rig.open_sink();
    REQUIRE(sink->recover({{"a", cursor_of(deliveries[0])}}, {}).ok());
    const uint64_t transactions = calls(server, "exec");
    REQUIRE(sink->write({{&deliveries[1], 399}, kTransactionFence}, {}).written == 399);
    CHECK(calls(server, "exec") == transactions + 13);
    CHECK(proxy.counters().to_client < 500'000);
  }

  TEST_CASE("transactions: no memory, a wrong key and a user who may not use them end at the script") {
    HG_REDIS(server);
    Rig rig(server);
    const auto sink = rig.open_sink();
    const auto deliveries = sample_deliveries({"a"}, 200);
    REQUIRE(sink->write({{&deliveries[0], 100}, kTransactionFence}, {}).written == 100);
    run_command(server, {"CONFIG", "SET", "maxmemory", "1"});
    const WriteResult full = sink->write({{&deliveries[100], 100}, kTransactionFence}, {});
    CHECK(full.written == 0);
    CHECK(full.status.code() == StatusCode::kResourceExhausted);
    Steps steps(rig, {&deliveries[100], 100});
    REQUIRE(steps.look());
    CHECK(steps.run() == Outcome::kNotRun);
    run_command(server, {"CONFIG", "SET", "maxmemory", "0"});

    run_command(server, {"SET", rig.key("wrong", "changes"), "text"});
    const auto wrong = sample_deliveries({"wrong"}, 100);
    const WriteResult refused = sink->write({wrong, kTransactionFence}, {});
    CHECK(refused.written == 0);
    CHECK(refused.status.code() == StatusCode::kUnavailable);  // a state of the server, no fault of the event
    CHECK(message_of(refused.status).find(rig.key("wrong", "changes")) != std::string::npos);

    run_command(server, {"ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-multi"});
    rig.settings.connection.user = "plain";
    rig.settings.connection.password = "secret";
    CHECK(rig.open_sink()->write({{&deliveries[100], 100}, kTransactionFence}, {}).written == 100);
    run_command(server, {"ACL", "DELUSER", "plain"});
    rig.settings.connection = connection_to(server.port());
    CHECK(rig.length("a") == "200");
  }

  TEST_CASE("transactions: a position that leads its stream is not believed") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto sink = rig.open_sink();
    const auto deliveries = sample_deliveries({"a"}, 200);
    REQUIRE(sink->write({{&deliveries[0], 100}, kTransactionFence}, {}).written == 100);
    // As if XADD had been refused and HSET not.
    const std::string position = rig.key("a", "position");
    run_command(server, {"HSET", position, "xid", "1149", "sequence", "150", "id", "1149-0"});
    const auto held = sink->recover({{"a", cursor_of(deliveries[149])}}, {});
    REQUIRE(held.ok());
    CHECK(held->at("a") == cursor_of(deliveries[99]));
    REQUIRE(sink->write({{&deliveries[90], 110}, kTransactionFence}, {}).written == 110);
    rig.check_exact({"a"}, 200);
  }

  TEST_CASE("transactions: a deleted stream whose position is left is filled again") {
    HG_REDIS(server);
    const Rig rig(server);
    const auto sink = rig.open_sink();
    const auto deliveries = sample_deliveries({"a"}, 200);
    REQUIRE(sink->write({deliveries, kTransactionFence}, {}).written == 200);
    for (const size_t batch : {20, 100}) {
      run_command(server, {"DEL", rig.key("a", "changes")});
      const auto held = sink->recover({{"a", cursor_of(deliveries[199])}}, {});
      REQUIRE(held.ok());
      CHECK(held->at("a").sequence == 0);
      for (size_t at = 0; at < 200; at += batch) {
        REQUIRE(sink->write({{&deliveries[at], batch}, kTransactionFence}, {}).written == batch);
      }
      rig.check_exact({"a"}, 200);
    }
  }
}

}  // namespace headgate::sinks
