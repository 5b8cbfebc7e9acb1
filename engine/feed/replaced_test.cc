// A history that is replaced: the feed says so at once, and a client that keeps identities misses nothing of the new
// one, nor takes what was lost for delivered.
#include <csignal>
#include <functional>

#include "engine/feed/feed_fixture.h"
#include "tests/support/postgres_server.h"

namespace headgate::engine {

namespace {

using testing::PostgresServer;

constexpr Duration kPatience{30'000};

struct Cluster {
  testing::TempFolder folder{"headgate-replaced"};
  PostgresServer server{folder.path() + "/primary",
                        {"wal_level=replica", "synchronous_commit=off", "wal_writer_delay=10s", "autovacuum=off",
                         "bgwriter_lru_maxpages=0"}};
  Cluster() {
    server.start();
    const Status status = migrate_database({.uri = server.uri()}, {});
    REQUIRE_MESSAGE(status.ok(), describe(status));
  }
  std::unique_ptr<Feed> feed() const {
    return std::make_unique<Feed>([uri = server.uri()] { return open_history({.uri = uri}); });
  }
  uint64_t write(const std::string& tenant, const std::string& entity) const {
    return EngineSession(server.uri()).write(tenant, entity);
  }
  void run(const std::string& sql) const { EngineSession(server.uri()).run(sql); }
  // From here on nothing is flushed: who would do it every now and then stands still.
  void keep_in_memory() const {
    run("CHECKPOINT");
    EngineSession session(server.uri());
    const std::string pid = session.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
    REQUIRE(::kill(std::stoi(pid), SIGSTOP) == 0);
  }
};

// What a relay remembers of its streams.
struct Memory {
  std::string incarnation;
  uint64_t position = 0;
  TransactionIdentity newest;
  std::map<std::string, TransactionIdentity> lasts;

  void learn(const Client& client) {
    if (client.opening) {
      incarnation = client.opening->incarnation;
      if (position == 0) newest = client.opening->newest;
      position = std::max(position, client.opening->position);
    }
    if (client.position >= position && client.position != 0) {
      position = client.position;
      newest = client.newest;
    }
    for (const auto& [tenant, last] : client.lasts) lasts[tenant] = last;
  }
  StreamRequest by_position() const {
    return {.notices = true,
            .all_tenants = true,
            .others_token = encode_position_token(position),
            .incarnation = incarnation,
            .others_last = newest};
  }
  StreamRequest by_tenant() const {
    StreamRequest request{.notices = true, .all_tenants = true, .incarnation = incarnation};
    for (const auto& [tenant, last] : lasts) {
      request.tenants.push_back(
          {.tenant = tenant, .snap_token = encode_legacy_token(last.xid), .last = last, .quiet = true});
    }
    return request;
  }
};

bool opens(Client& client) {
  return wait_until([&] { return !client.pull() || client.opening.has_value(); }, kPatience) && client.opening;
}

std::string failures(const Client& client) {
  std::vector<std::string> all;
  for (const StreamNotice& notice : client.notices) all.push_back(notice.tenant + " " + notice.reason);
  std::ranges::sort(all);
  return fmt::format("{}", fmt::join(all, ", "));
}

std::string delivered(const Client& client) {
  std::vector<std::string> all;
  for (const SeenMessage& message : client.seen) {
    for (const std::string& change : message.changes) all.push_back(message.tenant + change);
  }
  return fmt::format("{}", fmt::join(all, " "));
}

bool parked_at(Client& client, uint64_t position) {
  return wait_until([&] { return client.pull() && client.position == position && client.newest.xid != 0; }, kPatience);
}

// Three tenants have a transaction that stays, and two of them one that `lose` takes away. Meanwhile a feed follows, if
// `running`; a client comes back with what it remembers.
void check_replacement(const Cluster& cluster, bool running, const std::function<void()>& prepare,
                       const std::function<void()>& lose) {
  auto feed = cluster.feed();
  auto client = std::make_unique<Client>(*feed, StreamRequest{.notices = true, .all_tenants = true});
  REQUIRE(opens(*client));
  for (const char* tenant : {"a", "b", "c"}) cluster.write(tenant, "kept");
  const uint64_t kept = cluster.write("e", "kept");
  prepare();
  cluster.write("a", "lost");
  const uint64_t lost = cluster.write("b", "lost");
  // A dump takes its time, and a copy needs the server: everything was delivered in front of it.
  REQUIRE(parked_at(*client, lost + 1));
  CHECK(client->newest.xid == lost);
  Client watcher(*feed, "c");
  REQUIRE(opens(watcher));
  Memory memory;
  memory.learn(*client);
  if (!running) {
    client.reset();
    feed.reset();
  }
  lose();
  std::string expected;
  for (int i = 0; i < 3; ++i) {
    cluster.write("a", "new" + std::to_string(i));
    cluster.write("d", "new" + std::to_string(i));
    expected += fmt::format("d+new{} ", i);
  }
  if (running) {
    REQUIRE(wait_until([&] { return !client->pull(); }, kPatience));
    CHECK(client->end.code() == StatusCode::kOutOfRange);
    CHECK(reason_of(client->end) == kHistoryReplaced);
    CHECK(delivered(*client).find("new") == std::string::npos);
    REQUIRE(wait_until([&] { return !watcher.pull(); }, kPatience));
    CHECK(reason_of(watcher.end) == kHistoryReplaced);
  } else {
    feed = cluster.feed();
  }
  Client refused(*feed, memory.by_position());
  REQUIRE(wait_until([&] { return !refused.pull(); }, kPatience));
  CHECK(refused.end.code() == StatusCode::kOutOfRange);
  CHECK(reason_of(refused.end) == kHistoryReplaced);

  Client back(*feed, memory.by_tenant());
  REQUIRE_MESSAGE(opens(back), describe(back.end));
  CHECK(failures(back) == "a HISTORY_REPLACED, b HISTORY_REPLACED");
  for (const StreamNotice& notice : back.notices) CHECK(notice.position == kept + 1);
  CHECK(back.receives(3, kPatience));
  CHECK(delivered(back) + " " == expected);
  // From the position that it was told, nothing of the new history is missed.
  Client again(*feed, StreamRequest{.tenants = {{"a", encode_position_token(kept + 1)}}, .notices = true});
  CHECK(again.receives(3, kPatience));
  CHECK(delivered(again) == "a+new0 a+new1 a+new2");
}

}  // namespace

TEST_SUITE("feed/replaced") {
  TEST_CASE("replaced: a crash that lost unflushed commits") {
    if (testing::postgres_binaries().empty())
      HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    for (const bool running : {true, false}) {
      CAPTURE(running);
      cluster.run("DELETE FROM relation_tuples");
      check_replacement(
          cluster, running, [&] { cluster.keep_in_memory(); },
          [&] {
            cluster.server.crash();
            cluster.server.start();
          });
    }
  }
}

}  // namespace headgate::engine
