// The token store in Redis behind TLS, behind Sentinel and in a cluster.
#include "relay/tokens/token_store_contract.h"
#include "tests/support/redis_servers.h"

namespace headgate::relay::testing {

using headgate::testing::redis_missing;
using headgate::testing::RedisCluster;
using headgate::testing::RedisSentinels;
using headgate::testing::RedisTls;
using headgate::testing::wait_until;

namespace {

// One set of servers for all cases of this program; emptied for each.
template <typename Servers>
struct ModeBackend {
  ModeBackend() {
    if (missing() == nullptr) lose();
  }
  static Servers& servers() {
    static Servers started;
    return started;
  }
  const char* missing() const { return redis_missing(); }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) {
    return make_redis_store(scope, {.connection = servers().settings()}, {});
  }
  void command(const std::string& key, const std::vector<std::string_view>& words) const {
    const auto reply = redis::Client(servers().settings()).command(key, words, {});
    REQUIRE_MESSAGE(reply.ok(), describe(reply.status()));
  }
  void lose() const {
    for (const char* key : {"owner", "sinks", "ping", "cursors:kafka", "cursors:redis", "details:kafka"}) {
      for (const char* scope : {"main", "other"}) {
        const std::string name = fmt::format("headgate:{{{}}}:relay:{}", scope, key);
        command(name, {"DEL", name});
      }
    }
  }
  void write_as_before(const std::string& tenant, uint64_t xid, uint64_t sequence) const {
    const std::string base = "headgate:{main}:relay:";
    command(base, {"HINCRBY", base + "owner", "epoch", "1"});
    command(base, {"SADD", base + "sinks", "kafka"});
    command(base, {"HSET", base + "cursors:kafka", tenant,
                   fmt::format("{}\t0\t0\t{}\t7001/1\ttoken-{}", xid, sequence, xid)});
  }
};

using TlsBackend = ModeBackend<RedisTls>;
using SentinelBackend = ModeBackend<RedisSentinels>;
using ClusterBackend = ModeBackend<RedisCluster>;

// Commits go on, and a newer owner is still the only one, whoever serves the keys.
void check_failover(TokenStore& store, const std::function<void()>& fail_over) {
  const StatusOr<Fence> old = store.acquire("pod-1");
  REQUIRE(old.ok());
  const StatusOr<Fence> fence = store.acquire("pod-2");
  REQUIRE(fence.ok());
  const std::vector<CursorUpdate> first{update_of("t1", 5, 1)};
  const std::vector<CursorUpdate> second{update_of("t1", 9, 2)};
  REQUIRE(store.commit("kafka", first, *fence).ok());
  fail_over();
  CHECK(wait_until([&] { return store.commit("kafka", second, *fence).ok(); }));
  CHECK(store.commit("kafka", first, *old).code() == StatusCode::kFailedPrecondition);
  CHECK(store.load("kafka").value().at("t1").xid == 9);
}

}  // namespace

TEST_SUITE_BEGIN("relay/tokens/modes");

TEST_CASE_TEMPLATE_INVOKE(token_store_contract, TlsBackend, SentinelBackend, ClusterBackend);

TEST_CASE("redis store: goes on with the master that Sentinel chooses") {
  SentinelBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  const auto store = backend.open("main");
  REQUIRE(store.ok());
  check_failover(**store, [&] {
    backend.command("", {"WAIT", "1", "3000"});
    backend.servers().fail_over();
  });
}

TEST_CASE("redis store: goes on in a cluster through a slot that moves and a master that dies") {
  ClusterBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  const uint16_t slot = redis::slot_of("{main}");
  auto& cluster = backend.servers();
  const auto store = backend.open("main");
  REQUIRE(store.ok());
  check_failover(**store, [&] {
    if (cluster.owner(slot) != 0) cluster.migrate(slot, 0);
    CHECK((*store)->load("kafka").value().at("t1").xid == 5);
    cluster.node(0).command({"WAIT", "1", "3000"});
    cluster.fail_over();
  });
}

TEST_CASE("redis store: settings that cannot work are refused before anything is tried") {
  RedisStoreSettings settings;
  settings.connection.mode = redis::Mode::kSentinel;
  const Status refused = make_redis_store("main", settings, {}).status();
  CHECK(refused.code() == StatusCode::kInvalidArgument);
  CHECK(message_of(refused).find("addresses") != std::string::npos);
}

TEST_SUITE_END();

}  // namespace headgate::relay::testing
