// Eight concurrent writers over four tenants: every Watch stream and every sink gets every committed transaction once,
// in xid order. PostgreSQL's own rows are the truth.
#include <pqxx/pqxx>

#include "tests/support/delivery.h"
#include "tests/support/engine_session.h"
#include "tests/support/load.h"
#include "tests/support/world.h"

TEST_SUITE("integration/fan_out") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using Streams = std::map<std::string, std::vector<std::unique_ptr<WatchReader>>>;

  void check_streams(const Truth& truth, const Streams& streams) {
    for (const auto& entry : streams) {
      const auto& tenant = entry.first;
      const auto& readers = entry.second;
      for (const auto& reader : readers) {
        const size_t expected = count_behind(truth, tenant, reader->start_token());
        CHECK_MESSAGE(reader->wait_for(expected, 60s), tenant << ": " << reader->count() << " of " << expected);
        CHECK(check_stream(truth, tenant, reader->start_token(), reader->messages()) == "");
      }
      // F2: the late stream against the same stretch of the early one.
      const auto early = seen(tenant, readers[0]->messages());
      const auto late = seen(tenant, readers[1]->messages());
      REQUIRE(late.size() <= early.size());
      CHECK(check_same({early.end() - static_cast<std::ptrdiff_t>(late.size()), early.end()}, late) == "");
    }
  }

  // How many transactions committed after one with a higher xid: the load must be worth the test.
  int late_commits(const std::string& uri) {
    EngineSession sql(uri);
    return std::stoi(sql.value(
        "SELECT count(*) FROM (SELECT pg_xact_commit_timestamp(id::xid) AS own, min(pg_xact_commit_timestamp(id::xid))"
        " OVER (ORDER BY id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS higher FROM transactions) t"
        " WHERE higher < own"));
  }

  TEST_CASE("fan-out: every stream and every sink gets each of 10,000 transactions once and in order") {
    HG_WORLD(world, {});
    const std::vector<std::string> tenants = {"t-one", "t.two", "t@three", "t:four"};
    world->create_tenants(tenants);
    world->relay().start();

    // Two streams of each tenant: one from before its first write, one that opens in the middle at a token of the
    // first.
    Streams streams;
    for (const std::string& tenant : tenants) {
      streams[tenant].push_back(std::make_unique<WatchReader>(world->client(), tenant, kBeginning));
    }
    Load load({.engine = world->engine().address(),
               .database = world->database_uri(),
               .tenants = tenants,
               .transactions = 10'000});
    REQUIRE_MESSAGE(load.wait_for(5'000, 240s), load.committed() << " transactions");
    for (const std::string& tenant : tenants) {
      REQUIRE(streams[tenant].front()->wait_for(100, 20s));
      const std::string token = streams[tenant].front()->messages().back().snap_token();
      streams[tenant].push_back(std::make_unique<WatchReader>(world->client(), tenant, token));
    }
    CHECK_MESSAGE(load.wait(240s), load.committed() << " transactions");
    load.stop();
    CHECK(load.faults() == std::vector<std::string>{});

    const Truth truth = read_truth(world->database_uri());
    size_t total = 0;
    for (const std::string& tenant : tenants) total += truth.at(tenant).size();
    CHECK(total >= 10'000);
    CHECK(late_commits(world->database_uri()) > 100);
    check_streams(truth, streams);
    for (const auto& entry : world->subscribers()) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      CHECK_MESSAGE(subscriber->wait_for(total, 60s), sink << " has " << subscriber->count() << " of " << total);
      CHECK(subscriber->faults() == std::vector<std::string>{});
      CHECK_MESSAGE(check_sink(truth, subscriber->received(), Repeats::kNone) == "", sink);
    }
  }

  // A feed as it must not be: polls for what committed behind the last commit it has seen and lies below the oldest
  // open transaction of all, in the order of commits.
  class CommitOrderedFeed {
   public:
    CommitOrderedFeed(const std::string& uri, std::string tenant) : connection_(uri), tenant_(std::move(tenant)) {}

    void poll() {
      pqxx::nontransaction work(connection_);
      for (const pqxx::row& row :
           work.exec("SELECT id::text, pg_xact_commit_timestamp(id::xid)::text FROM transactions WHERE tenant_id = '" +
                     tenant_ + "' AND pg_xact_commit_timestamp(id::xid) > '" + last_commit_ +
                     "' AND id < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY pg_xact_commit_timestamp(id::xid)")) {
        seen_.push_back({tenant_, std::stoull(row[0].c_str()), 0, false, {}, row[0].c_str()});
        last_commit_ = row[1].c_str();
      }
    }
    const std::vector<SeenMessage>& seen() const { return seen_; }

   private:
    pqxx::connection connection_;
    const std::string tenant_;
    std::string last_commit_ = "-infinity";
    std::vector<SeenMessage> seen_;
  };

  TEST_CASE("fan-out: the validator that passes the stream rejects a feed in the order of commits") {
    HG_WORLD(world, {.sinks = {}});
    world->create_tenants({"acme"});
    WatchReader reader(world->client(), "acme", kBeginning);
    CommitOrderedFeed wrong(world->database_uri(), "acme");
    Load load({.engine = world->engine().address(),
               .database = world->database_uri(),
               .tenants = {"acme"},
               .api_writers = 2,
               .sql_writers = 3,
               .transactions = 1'500});
    while (!load.wait_for(1'500, 10ms) && load.faults().empty()) wrong.poll();
    load.stop();
    wrong.poll();
    const Truth truth = read_truth(world->database_uri());
    REQUIRE(reader.wait_for(truth.at("acme").size(), 60s));
    CHECK(check_stream(truth, "acme", kBeginning, reader.messages()) == "");
    const std::string fault = check_complete(rows_of(truth), wrong.seen(), "acme", 0);
    CHECK(fault != "");
    MESSAGE("in the order of commits: " << fault << "; " << wrong.seen().size() << " of " << truth.at("acme").size());
  }

  TEST_CASE("fan-out: transactions of others never stall the feed") {
    HG_WORLD(world, {.sinks = {}});
    world->create_tenants({"acme"});
    EngineSession foreign(world->database_uri());
    foreign.begin_foreign();
    HG_POSTGRES(other_database);
    EngineSession elsewhere(other_database->uri());
    elsewhere.begin_foreign();

    WatchReader reader(world->client(), "acme", kBeginning);
    std::vector<double> waited_ms;
    for (size_t i = 1; i <= 30; ++i) {
      REQUIRE(world->client().write("acme", {tuple_of("doc:" + std::to_string(i) + "#owner@user:a")}).status.ok());
      const auto committed = std::chrono::steady_clock::now();
      REQUIRE(reader.wait_for(i, 10s));
      waited_ms.push_back(
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - committed).count());
    }
    CHECK(check_never_stalled(waited_ms, 1'000) == "");
    foreign.rollback();
    elsewhere.rollback();
    CHECK(check_stream(read_truth(world->database_uri()), "acme", "", reader.messages()) == "");
  }
}
