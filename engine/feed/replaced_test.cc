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
  std::vector<TransactionIdentity> recent;

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
    recent = client.recent;
  }
  StreamRequest by_position() const {
    return {.notices = true,
            .all_tenants = true,
            .others_token = encode_position_token(position),
            .incarnation = incarnation,
            .others_last = newest,
            .recent = recent};
  }
  StreamRequest by_tenant() const {
    StreamRequest request{.notices = true, .all_tenants = true, .incarnation = incarnation, .recent = recent};
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
  cluster.run("DELETE FROM relation_tuples");  // of the round before
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
  Client again(*feed, StreamRequest{.tenants = {{"a", encode_position_token(kept + 1)}},
                                    .notices = true,
                                    .incarnation = back.opening->incarnation});
  CHECK(again.receives(3, kPatience));
  CHECK(delivered(again) == "a+new0 a+new1 a+new2");
}

}  // namespace

TEST_SUITE("feed/replaced") {
  TEST_CASE("replaced: the same client and feed go through every way to lose history, running and stopped") {
    if (testing::postgres_binaries().empty())
      HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    PostgresServer& server = cluster.server;
    const std::string file = cluster.folder.path() + "/primary/dump.sql";
    for (const bool running : {true, false}) {
      CAPTURE(running);
      INFO("a crash that lost unflushed commits");
      check_replacement(
          cluster, running, [&] { cluster.keep_in_memory(); },
          [&] {
            server.crash();
            server.start();
          });
      INFO("the volume put back");
      check_replacement(
          cluster, running, [&] { server.save(running ? "a" : "b"); },
          [&] {
            server.put_back(running ? "a" : "b");
            server.start();
          });
      INFO("a dump restored into the same cluster");
      check_replacement(
          cluster, running, [&] { server.dump("postgres", file); }, [&] { server.restore("postgres", file); });
      INFO("a standby that lagged was promoted");
      std::unique_ptr<PostgresServer> standby;
      check_replacement(
          cluster, running,
          [&] { standby = PostgresServer::standby_of(server, cluster.folder.path() + (running ? "/s1" : "/s2")); },
          [&] {
            server.crash();
            standby->start();
            standby->promote();
            server.take_over(*standby);
            server.start();
          });
    }
  }

  TEST_CASE("replaced: a second recovery from one backup has the same name, and is noticed all the same") {
    if (testing::postgres_binaries().empty())
      HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    const uint64_t shared = cluster.write("old", "kept");
    cluster.server.save("backup");
    cluster.server.recover_from("backup");
    cluster.server.start();
    Memory memory;
    {
      const auto feed = cluster.feed();
      Client client(*feed, StreamRequest{.notices = true, .all_tenants = true, .earliest = true});
      const uint64_t lost = cluster.write("a", "lost");
      REQUIRE(parked_at(client, lost + 1));
      memory.learn(client);
    }
    cluster.server.recover_from("backup");
    cluster.server.start();
    cluster.write("a", "new");
    cluster.write("b", "new");
    const auto feed = cluster.feed();
    Client refused(*feed, memory.by_position());
    REQUIRE(wait_until([&] { return !refused.pull(); }, kPatience));
    CHECK(reason_of(refused.end) == kHistoryReplaced);
    Client back(*feed, memory.by_tenant());
    REQUIRE_MESSAGE(opens(back), describe(back.end));
    CHECK(back.opening->incarnation == memory.incarnation);
    CHECK(failures(back) == "a HISTORY_REPLACED");
    CHECK(back.notices.at(0).position == shared + 1);
    CHECK(back.receives(1, kPatience));
    CHECK(delivered(back) == "b+new");
  }

  TEST_CASE("replaced: a standby that had everything goes on without a gap") {
    if (testing::postgres_binaries().empty())
      HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    const auto feed = cluster.feed();
    Client client(*feed, StreamRequest{.notices = true, .all_tenants = true}), watcher(*feed, "a");
    REQUIRE(opens(client));
    REQUIRE(opens(watcher));
    cluster.write("a", "1");
    const uint64_t last = cluster.write("b", "2");
    REQUIRE(parked_at(client, last + 1));
    Memory memory;
    memory.learn(client);
    const auto standby = PostgresServer::standby_of(cluster.server, cluster.folder.path() + "/standby");
    cluster.server.crash();
    standby->start();
    standby->promote();
    cluster.server.take_over(*standby);
    cluster.server.start();
    REQUIRE(wait_until([&] { return !client.pull(); }, kPatience));
    CHECK(client.end.code() == StatusCode::kUnavailable);
    REQUIRE(wait_until([&] { return !watcher.pull(); }, kPatience));
    CHECK(reason_of(watcher.end) == kOtherIncarnation);
    cluster.write("a", "3");
    for (const StreamRequest& request : {memory.by_position(), memory.by_tenant()}) {
      Client back(*feed, request);
      REQUIRE_MESSAGE(opens(back), describe(back.end));
      CHECK(back.opening->incarnation != memory.incarnation);
      CHECK(back.receives(1, kPatience));
      CHECK(delivered(back) == "a+3");
      CHECK(back.notices.empty());
    }
  }

  TEST_CASE("replaced: xids that were handed out and never flushed do not move the position, and come again") {
    if (testing::postgres_binaries().empty())
      HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    const uint64_t last = cluster.write("a", "1");
    cluster.keep_in_memory();
    const auto hand_out = [&] {
      uint64_t xid = 0;
      for (int i = 0; i < 10; ++i) {
        EngineSession session(cluster.server.uri());
        xid = session.begin_foreign();
        session.rollback();
      }
      return xid;
    };
    const uint64_t high = hand_out();
    const auto feed = cluster.feed();
    Client all(*feed, StreamRequest{.notices = true, .all_tenants = true}), one(*feed, "b");
    REQUIRE(opens(all));
    REQUIRE(opens(one));
    CHECK(all.opening->position == last + 1);
    CHECK(all.opening->newest.xid == last);
    CHECK(wait_until([&] { return all.pull() && feed->position() == last + 1; }));
    Memory memory;
    memory.learn(all);
    cluster.server.crash();
    cluster.server.start();
    const uint64_t again = cluster.write("b", "2");
    REQUIRE(again <= high);
    CHECK(all.receives(1, kPatience));
    CHECK(one.receives(1, kPatience));
    Client back(*feed, memory.by_position());
    CHECK(back.receives(1, kPatience));
    CHECK(delivered(back) == "b+2");
  }

  TEST_CASE("replaced: a lost transaction is noticed although one with a higher xid, flushed before it, survived") {
    if (testing::postgres_binaries().empty())
      HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    auto feed = cluster.feed();
    auto client = std::make_unique<Client>(*feed, StreamRequest{.notices = true, .all_tenants = true});
    REQUIRE(opens(*client));
    cluster.write("c", "kept");
    cluster.keep_in_memory();
    Memory memory;
    uint64_t lost = 0, kept = 0;
    {
      EngineSession low(cluster.server.uri()), high(cluster.server.uri());
      lost = low.begin("a");
      low.add("lost");
      kept = high.begin("b");
      high.add("kept");
      high.run("SET LOCAL synchronous_commit = on");
      high.commit();
      low.commit();
      REQUIRE(parked_at(*client, kept + 1));
      memory.learn(*client);
    }
    REQUIRE(kept > lost);
    client.reset();
    feed.reset();
    cluster.server.crash();
    cluster.server.start();
    REQUIRE(EngineSession(cluster.server.uri())
                .value(fmt::format("SELECT string_agg(tenant_id, '') FROM transactions WHERE id >= '{}'", lost)) ==
            "b");
    cluster.write("b", "new");
    feed = cluster.feed();
    Client refused(*feed, memory.by_position());
    REQUIRE(wait_until([&] { return !refused.pull(); }, kPatience));
    CHECK(reason_of(refused.end) == kHistoryReplaced);
    Client back(*feed, memory.by_tenant());
    REQUIRE_MESSAGE(opens(back), describe(back.end));
    CHECK(failures(back) == "a HISTORY_REPLACED");
    CHECK(back.receives(1, kPatience));
    CHECK(delivered(back) == "b+new");
  }

  TEST_CASE(
      "replaced: a tenant whose last transaction is there fails when an earlier one is not, unless that is explained") {
    HG_PREPARED(database);
    EngineSession session(database->uri());
    auto feed = std::make_unique<Feed>(opener(*database));
    Memory memory;
    {
      Client client(*feed, StreamRequest{.notices = true, .all_tenants = true});
      REQUIRE(client.open());
      for (const char* tenant : {"a", "a", "b", "b", "c", "c", "d"})
        session.write(tenant, fmt::format("{}", memory.position++));
      memory.position = 0;
      REQUIRE(client.receives(7));
      REQUIRE(parked_at(client, client.seen.back().xid + 1));
      memory.learn(client);
    }
    const auto first_of = [&](const std::string& tenant) {
      return session.value(
          fmt::format("SELECT id FROM transactions WHERE tenant_id = '{}' ORDER BY id LIMIT 1", tenant));
    };
    const auto lose = [&](const std::string& tenant) {
      const std::string xid = first_of(tenant);
      session.run(
          fmt::format("DELETE FROM transactions WHERE id = '{0}'; DELETE FROM relation_tuples"
                      " WHERE created_tx_id = '{0}'",
                      xid));
    };
    lose("a");
    session.collect("b");
    const auto back_by = [&](const StreamRequest& request) {
      Client back(*feed, request);
      wait_until([&] { return !back.pull() || back.opening.has_value(); });
      return back.end.ok() ? failures(back) : reason_of(back.end);
    };
    CHECK(back_by(memory.by_position()) == kHistoryReplaced);
    CHECK(back_by(memory.by_tenant()) == "a HISTORY_REPLACED");
    // What an older client does not tell is not compared.
    std::erase_if(memory.recent, [](const TransactionIdentity& one) { return one.tenant == "a"; });
    CHECK(back_by(memory.by_position()).empty());
    CHECK(back_by(memory.by_tenant()).empty());
  }

  TEST_CASE("replaced: an identity that a collector or a removal explains is intact, another time or tenant is not") {
    HG_PREPARED(database);
    EngineSession session(database->uri());
    const auto identity = [&](const std::string& tenant, uint64_t xid) {
      const std::string us = session.value(
          "SELECT (extract(epoch FROM \"timestamp\") * 1000000)::bigint FROM"
          " transactions WHERE id = '" +
          std::to_string(xid) + "'");
      return TransactionIdentity{xid, std::strtoll(us.c_str(), nullptr, 10), tenant};
    };
    const uint64_t collected = session.write("a", "1"), deleted = session.write("b", "1");
    const uint64_t by_others = session.write("c", "1"), lost = session.write("d", "1"), kept = session.write("a", "2");
    std::vector<TransactionIdentity> seen;
    for (const auto& [tenant, xid] : std::vector<std::pair<std::string, uint64_t>>{
             {"a", collected}, {"b", deleted}, {"c", by_others}, {"d", lost}, {"a", kept}}) {
      seen.push_back(identity(tenant, xid));
    }
    seen.push_back(seen.back());
    seen.back().started_at_us += 1;
    seen.push_back(identity("b", kept));
    seen.push_back({kept + 1'000, 0, "a"});
    session.run("DELETE FROM transactions WHERE tenant_id <> 'a' OR id < '" + std::to_string(kept) + "'");
    session.run("DELETE FROM relation_tuples WHERE tenant_id IN ('b', 'd')");
    session.run(fmt::format("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('a', '{}'), ('b', '{}')", kept,
                            kept + 1));
    const auto reader = open_history({.uri = database->uri()});
    REQUIRE(reader.ok());
    const auto answers = (*reader)->intact(seen);
    REQUIRE_MESSAGE(answers.ok(), describe(answers.status()));
    CHECK(*answers == std::vector<bool>{true, true, true, false, true, false, false, false});
    CHECK((*reader)->newest_below(kept + 1)->xid == kept);
    CHECK((*reader)->newest_below(1)->xid == 0);
  }
}

}  // namespace headgate::engine
