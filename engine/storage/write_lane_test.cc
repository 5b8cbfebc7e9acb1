#include "engine/storage/write_lane.h"

#include <future>

#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

constexpr int64_t kKey = 4711;

// A lane over a small pool. Writers of kKey wait while `holder` has its lock.
struct Lane : StorageFixture {
  explicit Lane(const testing::PostgresDatabase& database, WriteLaneSettings lane_settings = {})
      : StorageFixture(database), holder(database.uri()) {
    PoolSettings settings;
    settings.uri = database.uri();
    settings.connections_max = 2;
    settings.acquire_timeout = Duration(300);
    small = std::make_shared<Pool>(settings);
    lane = std::make_unique<WriteLane>(small, lane_settings);
  }

  std::future<WriteAttempt> write(const std::string& id, std::function<Status()> wanted = {}, bool locked = false) {
    WriteOrder order{"a", {}, std::nullopt, {}, std::move(wanted)};
    if (locked) order.lock = {"headgate_lock_key", {"1", std::to_string(kKey)}, {}};
    order.fill = [id](WriteStatements& statements) {
      statements.write(std::vector{tuple_of("doc", id, "o", "x")});
      return ok_status();
    };
    auto ended = std::make_shared<std::promise<WriteAttempt>>();
    auto outcome = ended->get_future();
    const auto done = [ended](WriteAttempt attempt) { ended->set_value(std::move(attempt)); };
    if (!lane->submit(std::make_shared<WriteOrder>(std::move(order)), 1, done)) {
      WriteAttempt refused;
      refused.status = make_status(StatusCode::kOutOfRange, "the line is full");
      ended->set_value(refused);
    }
    return outcome;
  }

  // One write that waits on each of the pool's two connections.
  std::vector<std::future<WriteAttempt>> block() {
    pqxx::nontransaction(holder).exec(fmt::format("SELECT pg_advisory_lock({})", kKey));
    std::vector<std::future<WriteAttempt>> blocked;
    blocked.push_back(write("1", {}, true));
    blocked.push_back(write("2", {}, true));
    REQUIRE(testing::wait_until([&] { return lane->running() == 2; }));
    return blocked;
  }
  void unblock() { pqxx::nontransaction(holder).exec("SELECT pg_advisory_unlock_all()"); }

  pqxx::connection holder;
  std::shared_ptr<Pool> small;
  std::unique_ptr<WriteLane> lane;
};

TEST_SUITE("storage/write_lane") {
  TEST_CASE(
      "write lane: writes share the pool's connections, wait in a bounded line, and one that waits too long ends") {
    HG_POSTGRES(database);
    Lane lane(*database, {.waiting_max = 2});
    auto blocked = lane.block();
    auto waiting = lane.write("3");
    auto unwanted = lane.write("4", [] { return make_status(StatusCode::kCancelled, "nobody listens"); });
    CHECK(lane.write("5").get().status.code() == StatusCode::kOutOfRange);
    CHECK(lane.lane->waiting() == 2);
    CHECK(lane.small->open() == 2);
    CHECK(waiting.get().status.code() == StatusCode::kResourceExhausted);
    CHECK(unwanted.get().status.code() == StatusCode::kResourceExhausted);
    lane.unblock();
    for (auto& attempt : blocked) CHECK(attempt.get().status.ok());
    const WriteAttempt cancelled = lane.write("6", [] { return make_status(StatusCode::kCancelled, ""); }).get();
    CHECK(cancelled.unwanted);
    CHECK_FALSE(cancelled.sent);
    CHECK(read_head(lane, "a") == "1#o@x 2#o@x");
  }

  TEST_CASE("write lane: a reader gets a connection that writes no longer need, and a write one that readers left") {
    HG_POSTGRES(database);
    Lane lane(*database);
    auto blocked = lane.block();
    const auto read = [&] { return lane.small->run([](pqxx::connection_base&) { return ok_status(); }); };
    CHECK(read().code() == StatusCode::kResourceExhausted);
    lane.unblock();
    for (auto& attempt : blocked) CHECK(attempt.get().status.ok());
    CHECK(read().ok());
    CHECK(lane.small->open() == 2);
    // The reader's connection is idle and the lane has its half, so this one waits for its turn.
    CHECK(lane.write("3").get().status.ok());
    const Status held = lane.small->run([&](pqxx::connection_base&) {
      CHECK(lane.small->in_use() == 1);
      return read();
    });
    CHECK(held.ok());
    CHECK(lane.write("4").get().status.code() == StatusCode::kOk);
  }

  TEST_CASE("write lane: a statement that fails leaves no lock and no transaction behind") {
    HG_POSTGRES(database);
    Lane lane(*database);
    REQUIRE(lane.write("1", {}, true).get().status.ok());
    database->execute("ALTER TABLE relation_tuples ADD CONSTRAINT refuse CHECK (entity_id <> '2')");
    const WriteAttempt refused = lane.write("2", {}, true).get();
    CHECK(refused.status.code() == StatusCode::kInternal);
    CHECK_FALSE(refused.in_doubt);
    CHECK(database->execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0");
    CHECK(lane.write("3", {}, true).get().status.ok());
    CHECK(database->execute("SELECT count(*) FROM transactions") == "2");
    CHECK(lane.small->open() == 1);
  }

  TEST_CASE("write lane: a write that was committed is told so, also when its locks cannot be released") {
    HG_POSTGRES(database);
    Lane lane(*database);
    // Found before the server's own by the sessions to come.
    database->execute("ALTER DATABASE " + database->name() + " SET search_path = public, pg_catalog");
    database->execute(
        "CREATE FUNCTION public.pg_advisory_unlock_all() RETURNS void LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not now'; END $$");
    const WriteAttempt attempt = lane.write("1", {}, true).get();
    CHECK_MESSAGE(attempt.status.ok(), describe(attempt.status));
    CHECK_FALSE(attempt.in_doubt);
    CHECK(read_head(lane, "a") == "1#o@x");
    // They go with the session.
    CHECK(testing::wait_until(
        [&] { return database->execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"; }));
    CHECK(lane.small->open() == 0);
  }

  TEST_CASE("write lane: at its end, writes under way and in the line fail") {
    HG_POSTGRES(database);
    Lane lane(*database);
    auto blocked = lane.block();
    auto waiting = lane.write("3");
    lane.lane.reset();
    for (auto& attempt : blocked) {
      const WriteAttempt ended = attempt.get();
      CHECK(ended.status.code() == StatusCode::kUnavailable);
      CHECK_FALSE(ended.in_doubt);
    }
    CHECK(waiting.get().status.code() == StatusCode::kUnavailable);
    CHECK(lane.small->open() == 0);
  }
}

}  // namespace
}  // namespace headgate::engine
