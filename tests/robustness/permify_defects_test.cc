// The defects of Permify's Watch that no other test of Headgate provokes; README.md lists where the test of each is.
#include <array>
#include <atomic>
#include <filesystem>

#include "base/snap_token.h"
#include "tests/robustness/fleet.h"
#include "tests/robustness/schedule.h"
#include "tests/support/engine_session.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr const char* kInteger = R"({"@type": "type.googleapis.com/base.v1.IntegerValue", "data": )";

void run_as_postgres(const std::vector<std::string>& argv, const std::string& log) {
  Process process({.argv = argv, .log_file = log, .user = "postgres"});
  REQUIRE(process.wait(60s));
  REQUIRE_MESSAGE(process.exit_code() == 0, read_file(log));
}

// Sets the counter of a server that is not running: as if it had handed out two thousand million xids already.
void set_next_xid(const std::string& folder, uint32_t epoch, uint32_t xid) {
  const std::string data = folder + "/data", log = folder + "/reset.log";
  run_as_postgres(
      {postgres_binaries() + "/pg_resetwal", "-e", std::to_string(epoch), "-x", std::to_string(xid), "-D", data}, log);
  // The server expects the page with the states of these transactions to be there.
  char segment[16];
  std::snprintf(segment, sizeof segment, "%04X", xid / (8192 * 4 * 32));
  run_as_postgres({"dd", "if=/dev/zero", "of=" + data + "/pg_xact/" + segment, "bs=8192", "count=32"}, log);
}

// As many threads of the kernel as a program has.
size_t threads_of(const EngineProgram& program) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(program.pid()) + "/task")) {
    ++count;
  }
  return count;
}

// All six orders of three open transactions of "acme".
void commit_in_all_orders(const std::string& uri, const Pod& pod, const std::string& prefix = "o") {
  std::array<size_t, 3> order = {0, 1, 2};
  int round = 0;
  do {
    std::array<std::unique_ptr<EngineSession>, 3> sessions;
    for (size_t i = 0; i < 3; ++i) {
      sessions[i] = std::make_unique<EngineSession>(uri);
      sessions[i]->begin("acme");
      sessions[i]->add(prefix + std::to_string(round) + "_" + std::to_string(i));
    }
    for (const size_t i : order) {
      sessions[i]->commit();
      let_it_look(pod);
    }
    ++round;
  } while (std::ranges::next_permutation(order).found);
}

}  // namespace

TEST_SUITE("robustness/permify_defects") {
  TEST_CASE("W6: the new value comes behind the old one, wherever the server has put its row") {
    HG_FLEET(fleet);
    Pod& pod = fleet->start();
    EngineSession sql(fleet->uri());
    const auto set = [&](int value) {
      // Another session: one that has written before would go on at the same page.
      EngineSession fresh(fleet->uri());
      fresh.begin("acme");
      fresh.set("a", "size", kInteger + std::to_string(value) + "}");
      fresh.commit();
    };
    // Room on the first pages, the value on a later one.
    sql.begin("other");
    sql.run(
        "INSERT INTO attributes (entity_type, entity_id, attribute, value, created_tx_id, tenant_id) SELECT 'doc',"
        " 'f' || g, 'size', '" +
        std::string(kInteger) + "1}', pg_current_xact_id(), 'other' FROM generate_series(1, 500) g");
    sql.commit();
    set(1);
    sql.run("DELETE FROM attributes WHERE tenant_id = 'other' AND id < (SELECT max(id) - 20 FROM attributes)");
    const auto newest_comes_first = [&] {
      return sql.value(
                 "SELECT (array_agg(ctid ORDER BY created_tx_id DESC))[1] <"
                 " (array_agg(ctid ORDER BY created_tx_id DESC))[2] FROM attributes WHERE tenant_id = 'acme'") == "t";
    };
    int last = 1;
    // The room is found again once nobody needs the old rows any more.
    REQUIRE(wait_until([&] {
      sql.run("VACUUM attributes");
      set(++last);
      return newest_comes_first();
    }));
    const WatchReader reader(*pod.client, "acme", kBeginning);
    REQUIRE(reader.wait_for(static_cast<size_t>(last), 20s));
    const std::string old_value = std::to_string(last - 1), new_value = std::to_string(last);
    CHECK(texts_of(reader.messages().back()) ==
          std::vector<std::string>{"-doc:a$size=" + old_value, "+doc:a$size=" + new_value});
  }

  TEST_CASE("W7: the token of a message shows exactly what the stream has carried up to it") {
    HG_FLEET(fleet);
    Pod& pod = fleet->start();
    pod.client->create_tenant("acme", kSchema);
    const WatchReader reader(*pod.client, "acme", kBeginning);
    commit_in_all_orders(fleet->uri(), pod);
    REQUIRE(reader.wait_for(18, 20s));
    const auto messages = reader.messages();
    for (size_t i = 0; i < messages.size(); ++i) {
      const auto state = pod.client->tuples_at("acme", messages[i].snap_token());
      const auto until = std::vector(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      CHECK_MESSAGE(check_bootstrap({}, seen("acme", until), state) == "", "message " << i);
    }
  }

  TEST_CASE("W8, W15: xids beyond 32 bits, over the end of an epoch, in a server without commit times") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    TempFolder folder("headgate-epoch");
    PostgresServer server(folder.path(), {"track_commit_timestamp=off", "autovacuum=off"});
    server.start();
    run_as_postgres({postgres_binaries() + "/vacuumdb", "-a", "-F", "-q", "--maintenance-db", server.uri()},
                    folder.path() + "/freeze.log");
    server.stop();
    constexpr uint64_t kEpoch = uint64_t{1} << 32;
    set_next_xid(folder.path(), 2, static_cast<uint32_t>(kEpoch - 120));
    server.start();
    {
      Fleet fleet(server.uri());
      Pod& pod = fleet.start();
      EngineSession foreign(server.uri()), writer(server.uri());
      const WatchReader reader(*pod.client, "acme", kBeginning);
      REQUIRE(reader.wait_open(20s));
      CHECK(foreign.begin_foreign() < 3 * kEpoch);
      int count = 0;
      const auto write = [&] { return writer.write("acme", "w" + std::to_string(++count)); };
      while (write() < 3 * kEpoch - 20) writer.run("SELECT pg_current_xact_id()");
      commit_in_all_orders(server.uri(), pod, "before");
      const uint64_t last = write();
      while (write() < 3 * kEpoch + 5) {
      }
      commit_in_all_orders(server.uri(), pod, "behind");
      foreign.rollback();
      const Truth truth = read_truth(server.uri());
      const WatchReader late(*pod.client, "acme", headgate::encode_legacy_token(last));
      CHECK(check_readers(truth, {&reader, &late}, 20s) == "");
    }
    server.stop();
  }

  TEST_CASE("W9, W18: connections that are cut while history is read and streams are full leave no hole") {
    HG_FLEET(fleet);
    const auto time = attack_time(3s);
    Pod& pod = fleet->start({{"feed.page_changes", "200"}, {"feed.ring_bytes", "1048576"}});
    EngineSession writer(fleet->uri());
    for (int i = 0; i < 100; ++i) {
      writer.begin("acme");
      writer.add_many(50, "d" + std::to_string(i) + "_");
      writer.commit();
    }
    const std::string cut =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()";
    EngineSession cutter(fleet->uri());
    std::vector<std::unique_ptr<WatchReader>> readers;
    const auto end = std::chrono::steady_clock::now() + time;
    int cuts = 0;
    for (int round = 0; std::chrono::steady_clock::now() < end; ++round) {
      if (readers.size() < 6) readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", kBeginning));
      cutter.run(cut);
      ++cuts;
      EngineSession(fleet->uri()).write("acme", "more" + std::to_string(round));
      wait_until([] { return false; }, 30ms);
    }
    const Truth truth = read_truth(fleet->uri());
    std::vector<const WatchReader*> all;
    for (const auto& reader : readers) all.push_back(reader.get());
    CHECK(check_readers(truth, all, 60s) == "");
    MESSAGE(cuts << " times all connections cut, " << readers.size() << " streams");
  }

  TEST_CASE("W10: many streams that catch up do not starve reads of a pod with hardly any connection") {
    HG_FLEET(fleet);
    Pod& pod = fleet->start({{"feed.catch_up_threads", "1"}, {"database.max_connections", "5"}});
    pod.client->create_tenant("acme", kSchema);
    EngineSession writer(fleet->uri());
    for (int i = 0; i < 40; ++i) {
      writer.begin("acme");
      writer.add_many(20, "d" + std::to_string(i) + "_");
      writer.commit();
    }
    std::vector<std::unique_ptr<WatchReader>> readers;
    std::vector<const WatchReader*> all;
    for (int i = 0; i < 40; ++i) {
      readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", kBeginning));
      all.push_back(readers.back().get());
    }
    for (int i = 0; i < 5; ++i) CHECK(pod.client->tuples_at("acme", "").size() == 800);
    CHECK(check_readers(read_truth(fleet->uri()), all, 60s) == "");
  }

  TEST_CASE("W16: a database restored from a dump is refused until its counter is right, and then old tokens are") {
    HG_FLEET(fleet);
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    TempFolder folder("headgate-restore");
    PostgresServer server(folder.path(), {});
    server.start();
    const std::string burn = "DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    std::vector<std::string> tokens;
    {
      EngineSession source(fleet->uri());
      source.run(burn);
      Pod& pod = fleet->start();
      pod.client->create_tenant("acme", kSchema);
      for (int i = 0; i < 3; ++i) {
        const uint64_t xid = source.write("acme", "d" + std::to_string(i));
        tokens.push_back(headgate::encode_legacy_token(xid));
        tokens.push_back(headgate::encode_position_token(xid));
        const WriteAnswer write = pod.client->write("acme", {tuple_of("doc:a" + std::to_string(i) + "#owner@user:a")});
        REQUIRE(write.status.ok());
        tokens.push_back(write.token);
      }
      pod.program.kill();
    }
    const std::string dump = folder.path() + "/dump.sql", log = folder.path() + "/dump.log";
    run_as_postgres({postgres_binaries() + "/pg_dump", "-d", fleet->uri(), "-f", dump}, log);
    run_as_postgres({postgres_binaries() + "/psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.uri(), "-f", dump},
                    log);

    Fleet restored(server.uri());
    std::string refusal;
    try {
      restored.start();
    } catch (const std::exception& error) {
      refusal = error.what();
    }
    CHECK_MESSAGE(refusal.find("restored from a dump") != std::string::npos, refusal);

    EngineSession sql(server.uri());
    const std::string ahead = "SELECT count(*) FROM transactions WHERE id >= pg_snapshot_xmax(pg_current_snapshot())";
    while (sql.value(ahead) != "0") sql.run(burn);
    Pod& pod = restored.start();
    std::vector<StreamEnd> ends;
    for (const std::string& token : tokens) {
      const auto since = std::chrono::steady_clock::now();
      const WatchReader reader(*pod.client, "acme", token);
      ends.push_back(end_of(reader, since, 5s));
    }
    CHECK(check_refused(ends, {"OTHER_INCARNATION"}, 3'000) == "");
    // From the current state on everything is as ever.
    const auto state = pod.client->tuples_at("acme", "");
    CHECK(state.size() == 6);
    const WatchReader reader(*pod.client, "acme", "");
    REQUIRE(reader.wait_open(20s));
    sql.write("acme", "behind");
    REQUIRE(reader.wait_for(1, 20s));
    CHECK(check_bootstrap(state, seen("acme", reader.messages()), pod.client->tuples_at("acme", "")) == "");
  }

  TEST_CASE("W19: streams that are refused leave nothing behind") {
    HG_FLEET(fleet);
    Pod& pod = fleet->start();
    const auto knock = [&](int times) {
      for (int i = 0; i < times; ++i) {
        const auto since = std::chrono::steady_clock::now();
        const WatchReader reader(*pod.client, "acme", i % 2 == 0 ? "garbage" : "////////////////////");
        const StreamEnd end = end_of(reader, since, 20s);
        REQUIRE(end.code == grpc::StatusCode::INVALID_ARGUMENT);
      }
    };
    knock(50);
    const size_t threads = threads_of(pod.program), bytes = pod.program.resident_bytes();
    knock(500);
    CHECK(threads_of(pod.program) <= threads + 2);
    CHECK(memory_below(pod.program.resident_bytes(), bytes + (8 << 20)));
    CHECK(wait_until([&] { return metric_of(pod.program, "headgate_engine_watch_streams") == 0; }, 10s));
  }
}
