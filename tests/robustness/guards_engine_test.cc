// What each guard of the engine is good for: two pods on one database, one of them with the guard off. The same fault
// meets both; the named validator passes the one and must notice the other.
#include <atomic>

#include "base/snap_token.h"
#include "tests/robustness/recorder.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

// Silence is told from slowness by waiting; a refusal comes at once.
constexpr auto kSilence = 3s;

struct Pair {
  Pod& guarded;
  Pod& bare;
  std::vector<Pod*> both() { return {&guarded, &bare}; }
};

Pair start_pair(Fleet& fleet, const std::string& guard, const EngineValues& values = {}) {
  Pod& guarded = fleet.start(values);
  return {guarded, fleet.start(values, guard)};
}

struct Verdicts {
  std::string guarded;
  std::string bare;
};

// Runs the same on both, the guarded pod first.
template <typename Judge>
Verdicts judge(Pair& pair, const Judge& check) {
  return {check(pair.guarded), check(pair.bare)};
}

void expect(const Verdicts& verdicts, const std::string& fault) {
  CHECK(verdicts.guarded == "");
  CHECK_MESSAGE(verdicts.bare.find(fault) != std::string::npos, "without the guard: '" << verdicts.bare << "'");
  MESSAGE("without the guard: " << verdicts.bare);
}

std::string read_all(Pod& pod, const Truth& truth, const std::string& token = kBeginning) {
  const WatchReader reader(*pod.client, "acme", token);
  wait_for_all(reader, truth, 20s);
  return check_stream(truth, "acme", token, reader.messages());
}

StreamEnd open_at(Pod& pod, const std::string& token) {
  const auto since = std::chrono::steady_clock::now();
  const WatchReader reader(*pod.client, "acme", token);
  return end_of(reader, since, kSilence);
}

std::string token_of(uint64_t xid) { return headgate::encode_legacy_token(xid); }

// A transaction commits behind one with a higher xid; without the guard it is not waited for.
void expect_overtaken(Fleet& fleet, const std::string& guard) {
  Pair pair = start_pair(fleet, guard);
  EngineSession low(fleet.uri()), high(fleet.uri());
  const WatchReader guarded(*pair.guarded.client, "acme", kBeginning), bare(*pair.bare.client, "acme", kBeginning);
  const uint64_t xid = low.begin("acme");
  low.add("low");
  high.write("acme", "high");
  REQUIRE(bare.wait_for(1, 20s));
  let_it_look(pair.guarded);
  CHECK(guarded.count() == 0);
  low.commit();
  high.write("acme", "last");
  const Truth truth = read_truth(fleet.uri());
  const auto check = [&](const WatchReader& reader) {
    wait_for_all(reader, truth, 20s);
    return check_stream(truth, "acme", kBeginning, reader.messages());
  };
  expect({check(guarded), check(bare)}, "transaction " + std::to_string(xid) + " is missing");
}

}  // namespace

TEST_SUITE("robustness/guards_engine") {
  TEST_CASE("lock_holders: a horizon that ignores open engine transactions loses them") {
    HG_FLEET(fleet);
    expect_overtaken(*fleet, "lock_holders");
  }

  TEST_CASE("unknown_writers: what is told beside a transaction that may be anybody's is out of order") {
    HG_FLEET(fleet);
    expect_overtaken(*fleet, "unknown_writers");
  }

  TEST_CASE("lock_order: locks that are older than the snapshot do not tell who is in progress") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "lock_order");
    EngineSession foreign(fleet->uri());
    foreign.begin_foreign();
    const WatchReader guarded(*pair.guarded.client, "acme", kBeginning), bare(*pair.bare.client, "acme", kBeginning);
    Verdicts verdicts;
    // The gap between the two statements has to be hit: tried until it was.
    for (int round = 0; round < 60 && verdicts.bare.empty(); ++round) {
      {
        std::vector<std::jthread> writers;
        for (int number = 0; number < 4; ++number) {
          writers.emplace_back([&, number] {
            EngineSession session(fleet->uri());
            const std::string prefix = "r" + std::to_string(round) + "w" + std::to_string(number) + "_";
            for (int i = 0; i < 150; ++i) session.write("acme", prefix + std::to_string(i));
          });
        }
      }
      const Truth truth = read_truth(fleet->uri());
      wait_for_all(guarded, truth, 20s);
      wait_for_all(bare, truth, 20s);
      verdicts = {check_stream(truth, "acme", kBeginning, guarded.messages()),
                  check_stream(truth, "acme", kBeginning, bare.messages())};
    }
    foreign.rollback();
    expect(verdicts, "is missing");
  }

  TEST_CASE("change_order: without it deletes come behind creates") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "change_order");
    EngineSession writer(fleet->uri());
    writer.write("acme", "old");
    writer.begin("acme");
    writer.add("new");
    writer.remove("old");
    writer.commit();
    const Truth truth = read_truth(fleet->uri());
    expect(judge(pair, [&](Pod& pod) { return read_all(pod, truth); }), "carries other changes");
  }

  TEST_CASE("xid_order: history in the order of time stamps is another history") {
    HG_FLEET(fleet);
    fleet->start().program.kill();  // makes the tables
    EngineSession early(fleet->uri()), late(fleet->uri());
    early.run("BEGIN ISOLATION LEVEL SERIALIZABLE");
    late.write("acme", "lower");
    early.run("INSERT INTO transactions (tenant_id) VALUES ('acme')");
    early.commit();
    late.write("acme", "last");
    Pair pair = start_pair(*fleet, "xid_order");
    const Truth truth = read_truth(fleet->uri());
    expect(judge(pair, [&](Pod& pod) { return read_all(pod, truth); }), "transaction ");
  }

  TEST_CASE("token_holes: what was open beside a token is in neither the state nor the stream") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "token_holes");
    EngineClient& client = *pair.guarded.client;
    client.create_tenant("acme", kSchema);
    EngineSession held(fleet->uri());
    held.begin("acme");
    held.add("held");
    const WriteAnswer write = client.write("acme", {tuple_of("doc:later#owner@user:a")});
    REQUIRE_MESSAGE(write.status.ok(), write.status.error_message());
    const auto state = client.tuples_at("acme", write.token);
    held.commit();
    held.write("acme", "last");
    const auto now = client.tuples_at("acme", "");
    const Truth truth = read_truth(fleet->uri());
    expect(judge(pair,
                 [&](Pod& pod) {
                   const WatchReader reader(*pod.client, "acme", write.token);
                   wait_for_all(reader, truth, 20s);
                   return check_bootstrap(state, seen("acme", reader.messages()), now);
                 }),
           "doc:held#owner@user:u is neither in the state nor in the stream");
  }

  TEST_CASE("token_floor: a token whose history was collected starts a stream with a hole") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "token_floor");
    Recorder recorder(fleet->uri(), "acme");
    for (int i = 0; i < 4; ++i) recorder.write(2);
    EngineSession sql(fleet->uri());
    collect_by_hand(sql, "acme", recorder.last());
    recorder.write(2);
    const std::string token = token_of(recorder.rows()[0].xid);
    expect(judge(pair, [&](Pod& pod) { return check_refused({open_at(pod, token)}, {"HISTORY_GONE"}, 3'000); }),
           "from a wrong start");
  }

  TEST_CASE("token_incarnation: a token of another history goes on in this one") {
    HG_FLEET(fleet);
    fleet->start().program.kill();
    EngineSession sql(fleet->uri());
    const uint64_t before = sql.write("acme", "before");
    // As if what is there had been restored into a history that begins here.
    sql.run("UPDATE headgate.incarnations SET first_xid = pg_snapshot_xmax(pg_current_snapshot())");
    Pair pair = start_pair(*fleet, "token_incarnation");
    sql.write("acme", "behind");
    expect(
        judge(pair,
              [&](Pod& pod) { return check_refused({open_at(pod, token_of(before))}, {"OTHER_INCARNATION"}, 3'000); }),
        "from a wrong start");
  }

  TEST_CASE("part_tokens: who resumes inside of a large transaction misses its rest") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "part_tokens", {{"feed.part_bytes_max", "65536"}});
    EngineSession writer(fleet->uri());
    writer.begin("acme");
    writer.add_many(5'000);
    writer.commit();
    writer.write("acme", "last");
    const Truth truth = read_truth(fleet->uri());
    expect(judge(pair,
                 [&](Pod& pod) {
                   const WatchReader first(*pod.client, "acme", kBeginning);
                   REQUIRE(first.wait_for(3, 20s));
                   // Cut off behind the second part.
                   auto messages = first.messages();
                   messages.resize(2);
                   const WatchReader rest(*pod.client, "acme", messages.back().snap_token());
                   wait_for_all(rest, truth, 20s);
                   auto history = seen("acme", messages);
                   // Parts of a transaction that was not finished come again.
                   while (!history.empty() && history.back().more_parts) history.pop_back();
                   for (auto& message : seen("acme", rest.messages())) history.push_back(message);
                   return check_atomic(rows_of(truth), history);
                 }),
           "carries other changes");
  }

  TEST_CASE("page_floors: a stream that reads history behind the collector leaves out what it took") {
    HG_FLEET(fleet);
    fleet->start().program.kill();
    Recorder recorder(fleet->uri(), "acme");
    for (int i = 0; i < 60; ++i) recorder.write(500);
    Pair pair = start_pair(*fleet, "page_floors",
                           {{"feed.catch_up_bytes", "65536"},
                            {"feed.page_changes", "1000"},
                            {"watch.buffer_bytes", "65536"},
                            {"database.watch_buffer_size", "1"}});
    std::vector<std::unique_ptr<SlowReader>> readers;
    for (Pod* pod : pair.both()) {
      readers.push_back(std::make_unique<SlowReader>(*pod->client, "acme", kBeginning, 60s));
      REQUIRE(wait_until([&] { return readers.back()->open(); }, 20s));
    }
    for (Pod* pod : pair.both()) let_it_look(*pod);
    EngineSession sql(fleet->uri());
    collect_by_hand(sql, "acme", recorder.rows()[55].xid);
    for (const auto& reader : readers) reader->hurry();
    REQUIRE(wait_until([&] { return readers[0]->ended(); }, 30s));
    CHECK(error_reason(readers[0]->status()) == "HISTORY_GONE");
    // What came before the end is right.
    const auto until = readers[0]->messages();
    const std::vector<TruthRow> rows(recorder.rows().begin(),
                                     recorder.rows().begin() + static_cast<std::ptrdiff_t>(until.size()));
    const auto reached_last = [&] {
      const auto messages = readers[1]->messages();
      return readers[1]->ended() || (!messages.empty() && seen("acme", messages.back()).xid == recorder.last());
    };
    REQUIRE(wait_until(reached_last, 30s));
    CHECK(!readers[1]->ended());
    expect({check_complete(rows, seen("acme", until), "acme", 0), recorder.check(readers[1]->messages())},
           "is missing");
  }

  TEST_CASE("ring_floors: a feed that was frozen while the collector worked leaves out what it took") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "ring_floors");
    Recorder recorder(fleet->uri(), "acme");
    recorder.write(2);
    const WatchReader guarded(*pair.guarded.client, "acme", kBeginning), bare(*pair.bare.client, "acme", kBeginning);
    for (const WatchReader* reader : {&guarded, &bare}) REQUIRE(reader->wait_for(1, 20s));
    for (Pod* pod : pair.both()) pod->program.pause();
    for (int i = 0; i < 4; ++i) recorder.write(2);
    EngineSession sql(fleet->uri());
    collect_by_hand(sql, "acme", recorder.last());
    for (Pod* pod : pair.both()) pod->program.resume();
    REQUIRE(wait_until([&] { return carried(bare, recorder.last()); }, 20s));
    const StreamEnd end = end_of(guarded, std::chrono::steady_clock::now(), 20s);
    CHECK(end.reason == "HISTORY_GONE");
    const std::vector<TruthRow> rows(recorder.rows().begin(), recorder.rows().begin() + 1);
    expect({check_complete(rows, seen("acme", guarded.messages()), "acme", 0), recorder.check(bare.messages())},
           "is missing");
  }

  TEST_CASE("ring_recount: a past that changed while the database was away is left out") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "ring_recount");
    EngineSession writer(fleet->uri());
    writer.write("acme", "a");
    const std::string foreign = writer.value("SELECT pg_current_xact_id()");
    writer.write("acme", "b");
    const WatchReader guarded(*pair.guarded.client, "acme", kBeginning), bare(*pair.bare.client, "acme", kBeginning);
    for (const WatchReader* reader : {&guarded, &bare}) REQUIRE(reader->wait_for(2, 20s));
    // As after a crash: the xid had left nothing durable behind, was handed out again, and became one of ours.
    writer.run("INSERT INTO transactions (id, tenant_id) VALUES ('" + foreign + "', 'acme')");
    writer.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()");
    const auto since = std::chrono::steady_clock::now();
    const StreamEnd end = end_of(guarded, since, 20s);
    CHECK(end.reason == "HISTORY_REPLACED");
    writer.write("acme", "c");
    const Truth truth = read_truth(fleet->uri());
    wait_for_all(bare, truth, 20s);
    const auto before = seen("acme", guarded.messages());
    CHECK(before.size() == 2);
    expect({"", check_stream(truth, "acme", kBeginning, bare.messages())}, "transaction " + foreign + " is missing");
  }

  TEST_CASE("drain_spread: without it all streams end at once and come back at once") {
    HG_FLEET(fleet);
    Pair pair = start_pair(*fleet, "drain_spread", {{"server.drain_window", "1s"}});
    const auto goodbye = [&](Pod& pod) {
      std::vector<std::unique_ptr<WatchReader>> readers;
      for (int i = 0; i < 30; ++i) readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", ""));
      for (const auto& reader : readers) REQUIRE(reader->wait_open(20s));
      const auto since = std::chrono::steady_clock::now();
      ::kill(pod.program.pid(), SIGTERM);
      std::vector<StreamEnd> ends;
      for (const auto& reader : readers) ends.push_back(end_of(*reader, since, 20s));
      return check_goodbyes(ends, 1'000);
    };
    expect(judge(pair, goodbye), "lie in one tenth of the window");
  }
}
