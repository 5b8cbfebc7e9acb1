// The contract of the Redis sinks behind TLS, behind Sentinel and in a cluster, and what only happens there.
#include <atomic>
#include <set>
#include <thread>

#include "base/mutex.h"
#include "base/redis/slots.h"
#include "base/refusals.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/redis_rig.h"
#include "tests/support/redis_servers.h"
#include "tests/support/subscriber_redis_index.h"

namespace headgate::sinks {
namespace {

using testing::redis_missing;
using testing::RedisCluster;
using testing::RedisNode;
using testing::RedisSentinels;
using testing::RedisTls;
using testing::wait_until;
using Words = std::vector<std::string_view>;

constexpr Fence kFence{7};

const std::string kShared = "{prefix}:{{{shard}}}:changes";

RedisStreamsSettings streams_at(const redis::ClientSettings& connection) {
  RedisStreamsSettings settings;
  settings.connection = connection;
  settings.prefix = fresh_prefix();
  settings.entries_per_script = 16;
  settings.entries_per_transaction = 16;
  settings.event_bytes_max = 1 << 20;
  settings.shards = 4;
  return settings;
}

std::unique_ptr<Sink> make_sink_of(const RedisStreamsSettings& settings) {
  auto sink = make_redis_streams_sink("redis", {}, settings);
  REQUIRE_MESSAGE(sink.ok(), describe(sink.status()));
  return *std::move(sink);
}

std::unique_ptr<testing::Subscriber> reader_of(const RedisStreamsSettings& settings) {
  return testing::subscribe_redis_index(settings.connection, settings.prefix + ":{streams}");
}

Contract contract_at(const redis::ClientSettings& connection, const std::string& stream) {
  RedisStreamsSettings settings = streams_at(connection);
  settings.stream = stream;
  Contract contract;
  contract.make = [settings] { return make_sink_of(settings); };
  contract.make_limited = [settings](size_t bytes) {
    RedisStreamsSettings limited = settings;
    limited.event_bytes_max = bytes;
    return make_sink_of(limited);
  };
  contract.subscribe = [settings] { return reader_of(settings); };
  return contract;
}

void check_contract(const redis::ClientSettings& connection) {
  for (const std::string& stream : {RedisStreamsSettings().stream, kShared}) {
    CAPTURE(stream);
    const auto contract = [&] { return contract_at(connection, stream); };
    check_order_per_tenant(contract());
    check_close(contract());
    check_repeated_batch(contract());
    check_recover(contract());
    check_recover_in_snapshot(contract());
    check_control_events(contract());
    check_oversize(contract());
    check_fence(contract());
  }
}

// What a worker does, also that it goes back when the sink has lost what it had acknowledged.
class Delivering {
 public:
  Delivering(RedisStreamsSettings settings, std::vector<Delivery> deliveries)
      : settings_(std::move(settings)),
        deliveries_(std::move(deliveries)),
        thread_([this](std::stop_token stop) { run(stop); }) {}

  // How many are acknowledged, as far as the sink knows now.
  size_t done() const { return done_; }
  size_t lost() const { return lost_; }
  // When it is stuck, why.
  std::string last_fault() {
    MutexLock lock(mutex_);
    return last_fault_;
  }
  bool finish() {
    return wait_until([this] { return done_ == deliveries_.size(); }, std::chrono::seconds(40));
  }

 private:
  void run(std::stop_token stop) {
    const auto sink = make_sink_of(settings_);
    std::map<std::string, Cursor> known;
    bool open = false;
    size_t begin = 0;  // all in front of it are known
    const auto is_known = [&](const Delivery& d) { return d.sequence <= known[d.event->tenant].sequence; };
    while (!stop.stop_requested()) {
      if (!open) {
        system_clock().sleep(Duration(10), stop);
        if (!note(sink->open(stop))) continue;
        const auto held = sink->recover(known, stop);
        if (!note(held.status())) continue;
        for (const auto& [tenant, cursor] : *held) {
          if (cursor.sequence < known[tenant].sequence) lost_ += known[tenant].sequence - cursor.sequence;
          known[tenant] = cursor;
        }
        open = true;
        begin = 0;
      }
      while (begin < deliveries_.size() && is_known(deliveries_[begin])) ++begin;
      std::vector<Delivery> batch;
      for (size_t i = begin; i < deliveries_.size() && batch.size() < 50; ++i) {
        if (!is_known(deliveries_[i])) batch.push_back(deliveries_[i]);
      }
      if (batch.empty()) {
        done_ = deliveries_.size();
        return;
      }
      const WriteResult result = sink->write({batch, kFence}, stop);
      for (size_t i = 0; i < result.written; ++i) known[batch[i].event->tenant] = cursor_of(batch[i]);
      done_ = std::min(done_ + result.written, deliveries_.size() - 1);
      open = note(result.status);
    }
  }

  bool note(const Status& status) {
    if (status.ok()) return true;
    MutexLock lock(mutex_);
    last_fault_ = describe(status);
    return false;
  }

  const RedisStreamsSettings settings_;
  const std::vector<Delivery> deliveries_;
  std::atomic<size_t> done_ = 0;
  std::atomic<size_t> lost_ = 0;
  Mutex mutex_;
  std::string last_fault_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

std::vector<std::string> many_tenants(size_t count) {
  std::vector<std::string> tenants;
  for (size_t i = 0; i < count; ++i) tenants.push_back(fmt::format("tenant-{}", i));
  return tenants;
}

// Every event of every tenant once and in order.
void check_exact(const RedisStreamsSettings& settings, const std::vector<Delivery>& deliveries) {
  std::map<std::string, std::vector<uint64_t>> wanted;
  for (const Delivery& delivery : deliveries) wanted[delivery.event->tenant].push_back(delivery.sequence);
  const auto subscriber = reader_of(settings);
  const bool complete = subscriber->wait_for(deliveries.size(), std::chrono::seconds(10));
  CHECK_MESSAGE(complete, subscriber->count() << " of " << deliveries.size());
  for (const std::string& fault : subscriber->faults()) FAIL_CHECK(fault);
  std::map<std::string, std::vector<uint64_t>> got;
  for (const auto& event : subscriber->received()) got[event.tenant].push_back(event.sequence);
  for (const auto& entry : wanted) {
    const std::string& tenant = entry.first;
    const std::vector<uint64_t>& sequences = entry.second;
    const std::vector<uint64_t>& found = got[tenant];
    const auto end = std::mismatch(sequences.begin(), sequences.end(), found.begin(), found.end());
    CHECK_MESSAGE(found == sequences, tenant << " has " << found.size() << " of " << sequences.size()
                                             << " events, as wanted up to " << end.first - sequences.begin());
  }
  CHECK(got.size() == wanted.size());
}

#define HG_NEEDS_REDIS() \
  if (redis_missing() != nullptr) HG_SKIP(redis_missing())

}  // namespace

TEST_SUITE("redis/modes") {
  TEST_CASE("tls: the streams keep the contract") {
    HG_NEEDS_REDIS();
    RedisTls tls;
    check_contract(tls.settings());
    RedisStreamsSettings settings = streams_at(tls.settings());
    settings.connection.tls.ca_file = "/nonexistent/ca.pem";
    const Status refused = make_redis_streams_sink("mine", {}, settings).status();
    CHECK(refused.code() == StatusCode::kInvalidArgument);
    CHECK(message_of(refused).find("sink 'mine': redis: tls_ca_file '/nonexistent/ca.pem'") != std::string::npos);
  }

  TEST_CASE("sentinel: the streams keep the contract, and a failover under load loses and repeats nothing") {
    HG_NEEDS_REDIS();
    RedisSentinels sentinels;
    check_contract(sentinels.settings());
    // Who takes a sentinel for the server is told what it is.
    redis::ClientSettings wrong;
    wrong.port = redis::parse_address(sentinels.settings().addresses[0], 0)->port;
    const Status mistaken = make_sink_of(streams_at(wrong))->open({});
    CHECK_MESSAGE(message_of(mistaken).find("mode: sentinel") != std::string::npos, describe(mistaken));
    RedisStreamsSettings settings = streams_at(sentinels.settings());
    const auto deliveries = sample_deliveries(many_tenants(20), 20'000, 20);
    Delivering delivering(settings, deliveries);
    REQUIRE(wait_until([&] { return delivering.done() > 1'000; }));
    sentinels.fail_over();
    CHECK_MESSAGE(delivering.finish(), delivering.last_fault());
    // What the old master had acknowledged and not yet passed on was seen to be missing, and sent again.
    MESSAGE("acknowledged and lost by the failover: " << delivering.lost());
    check_exact(settings, deliveries);
  }

  TEST_CASE("sentinel: a master that is made a replica is left, and what it lost is announced and sent again") {
    HG_NEEDS_REDIS();
    RedisSentinels sentinels;
    const RedisStreamsSettings settings = streams_at(sentinels.settings());
    const auto sink = make_sink_of(settings);
    const auto deliveries = sample_deliveries({"a", "b"}, 60);
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({{&deliveries[0], 40}, kFence}, {}).written == 40);
    RedisNode& master = *sentinels.master();
    REQUIRE(master.command({"WAIT", "1", "5000"}) == "1");
    // The replica hears nothing more, as behind a network that is cut. Without PSYNC it would try SYNC.
    master.command({"ACL", "SETUSER", "default", "-psync", "-sync", "-replconf"});
    master.command({"CLIENT", "KILL", "TYPE", "replica"});
    REQUIRE(sink->write({{&deliveries[40], 20}, kFence}, {}).written == 20);
    sentinels.fail_over();
    REQUIRE(sink->write({{&deliveries[59], 1}, kFence}, {}).status.code() == StatusCode::kUnavailable);
    REQUIRE(wait_until([&] { return sink->open({}).ok(); }));
    const auto held = sink->recover({{"a", cursor_of(deliveries[58])}, {"b", cursor_of(deliveries[59])}}, {});
    REQUIRE(held.ok());
    CHECK(held->at("a") == cursor_of(deliveries[38]));
    CHECK(held->at("b") == cursor_of(deliveries[39]));
    CHECK(sink->write({{&deliveries[40], 20}, kFence}, {}).written == 20);
    check_exact(settings, deliveries);
  }

  TEST_CASE("replica: one that is taken for the server is named, blames no event, and is used once it is the master") {
    HG_NEEDS_REDIS();
    const testing::TempFolder folder("headgate-redis-replica");
    RedisNode ours(folder.path() + "/ours", {});
    RedisNode other(folder.path() + "/other", {});
    ours.start();
    other.start();
    const auto follow = [](const RedisNode& replica, const RedisNode& master) {
      replica.command({"REPLICAOF", "127.0.0.1", std::to_string(master.port())});
      return wait_until([&] {
        return replica.command({"INFO", "replication"}).find("link_status:up") != std::string::npos;
      });
    };
    const RedisStreamsSettings settings = streams_at(connection_to(ours.port()));
    const auto sink = make_sink_of(settings);
    const auto deliveries = sample_deliveries({"a", "b"}, 60);
    REQUIRE(deliver_all(*sink, {&deliveries[0], 40}, std::chrono::seconds(10)));
    REQUIRE(follow(other, ours));
    other.command({"REPLICAOF", "NO", "ONE"});
    REQUIRE(follow(ours, other));
    for (const size_t count : {1, 20}) {  // by script, and by transaction
      const WriteResult refused = sink->write({{&deliveries[40], count}, kFence}, {});
      CHECK(refused.written == 0);
      CHECK(refused.status.code() == StatusCode::kUnavailable);
      CHECK(refusal_kind(refused.status) == RefusalKind::kTopology);
      CHECK_MESSAGE(message_of(refused.status).find("this is a replica") != std::string::npos,
                    describe(refused.status));
      REQUIRE(wait_until([&] { return sink->open({}).ok(); }));
    }
    ours.command({"REPLICAOF", "NO", "ONE"});
    REQUIRE(deliver_all(*sink, {&deliveries[40], 20}, std::chrono::seconds(10)));
    check_exact(settings, deliveries);
  }

  TEST_CASE("cluster: the streams keep the contract, and keys that would span slots are refused") {
    HG_NEEDS_REDIS();
    RedisCluster cluster;
    check_contract(cluster.settings());
    RedisStreamsSettings settings = streams_at(cluster.settings());
    for (const char* stream : {"{prefix}:{tenant}:changes", "{prefix}:{shard}"}) {
      settings.stream = stream;
      const Status refused = make_redis_streams_sink("mine", {}, settings).status();
      CHECK(refused.code() == StatusCode::kInvalidArgument);
      CHECK_MESSAGE(message_of(refused).find("different slots") != std::string::npos, message_of(refused));
    }
    settings.stream = kShared;
    settings.index = "{prefix}:streams";
    CHECK(make_redis_streams_sink("mine", {}, settings).status().code() == StatusCode::kInvalidArgument);
    // A node that is taken for a server by itself says where the rest is, and no event is blamed.
    settings = streams_at(connection_to(cluster.node(0).port()));
    settings.index = "";
    const auto sink = make_sink_of(settings);
    REQUIRE(sink->open({}).ok());
    const WriteResult result = sink->write({sample_deliveries(many_tenants(20), 20), kFence}, {});
    CHECK(result.status.code() == StatusCode::kUnavailable);
    CHECK(message_of(result.status).find("mode: cluster") != std::string::npos);
  }

  TEST_CASE("cluster: a signal reaches subscribers at every node") {
    HG_NEEDS_REDIS();
    RedisCluster cluster;
    RedisPubsubSettings settings;
    settings.connection = cluster.settings();
    settings.prefix = fresh_prefix();
    const auto sink = make_redis_pubsub_sink("redis", {}, settings);
    REQUIRE(sink.ok());
    REQUIRE((*sink)->open({}).ok());
    std::vector<std::unique_ptr<testing::Subscriber>> subscribers;
    for (size_t i = 0; i < 3; ++i) {
      subscribers.push_back(testing::subscribe_redis_pubsub(cluster.node(i).text(), settings.prefix + ":*"));
      REQUIRE(subscribers.back()->wait_ready(std::chrono::seconds(10)));
    }
    const auto deliveries = sample_deliveries({"a", "b"}, 100);
    CHECK((*sink)->write({deliveries, kFence}, {}).written == 100);
    for (const auto& subscriber : subscribers) CHECK(subscriber->wait_for(100, std::chrono::seconds(10)));
  }

  TEST_CASE("cluster: slots that move under load are followed, without a lost or repeated event") {
    HG_NEEDS_REDIS();
    RedisCluster cluster;
    for (const std::string& stream : {RedisStreamsSettings().stream, kShared}) {
      CAPTURE(stream);
      RedisStreamsSettings settings = streams_at(cluster.settings());
      settings.stream = stream;
      const auto tenants = many_tenants(12);
      const auto deliveries = sample_deliveries(tenants, 12'000, 20);
      Delivering delivering(settings, deliveries);
      REQUIRE(wait_until([&] { return delivering.done() > 500; }));
      const bool shared = stream == kShared;
      const std::set<std::string> tags =
          shared ? std::set<std::string>{"0", "1", "2", "3"} : std::set<std::string>(tenants.begin(), tenants.end());
      for (const std::string& tag : tags) {
        const uint16_t slot = redis::slot_of(tag);
        cluster.migrate(slot, (cluster.owner(slot) + 1) % 3);
      }
      CHECK_MESSAGE(delivering.finish(), delivering.last_fault());
      CHECK(delivering.lost() == 0);
      check_exact(settings, deliveries);
    }
  }

  TEST_CASE("cluster: a tenant that is new in a slot that moves waits for it, and the others do not suffer") {
    HG_NEEDS_REDIS();
    RedisCluster cluster;
    const RedisStreamsSettings settings = streams_at(cluster.settings());
    const auto deliveries = sample_deliveries({"moving", "other"}, 40);
    const auto sink = make_sink_of(settings);
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({{&deliveries[0], 20}, kFence}, {}).written == 20);
    const uint16_t slot = redis::slot_of("moving");
    size_t step = 0;
    cluster.migrate(slot, (cluster.owner(slot) + 1) % 3, [&] {
      // With one key here and one there nobody can take it; before and behind that it is taken at once.
      const size_t at = 20 + 2 * step++;
      if (step == 2) return;
      const WriteResult result = sink->write({{&deliveries[at], 2}, kFence}, {});
      CHECK_MESSAGE(result.written == 2, describe(result.status));
      if (step == 1) REQUIRE(sink->write({{&deliveries[22], 2}, kFence}, {}).written == 2);
    });
    REQUIRE(sink->write({{&deliveries[26], 14}, kFence}, {}).written == 14);
    check_exact(settings, deliveries);
  }

  TEST_CASE("cluster: a master that dies under load is replaced, and nothing is lost or repeated") {
    HG_NEEDS_REDIS();
    RedisCluster cluster;
    RedisStreamsSettings settings = streams_at(cluster.settings());
    settings.stream = kShared;
    settings.shards = 12;  // some of them at the first node
    const auto deliveries = sample_deliveries(many_tenants(30), 20'000, 20);
    Delivering delivering(settings, deliveries);
    REQUIRE(wait_until([&] { return delivering.done() > 1'000; }));
    cluster.fail_over();
    CHECK_MESSAGE(delivering.finish(), delivering.last_fault());
    MESSAGE("acknowledged and lost by the failover: " << delivering.lost());
    check_exact(settings, deliveries);
  }
}

}  // namespace headgate::sinks
