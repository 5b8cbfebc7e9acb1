// Transactions that commit in every order a server allows, beside those of others: what was committed arrives once,
// whole and in xid order (F1, F2, F4, F7), on streams that were open all the time and on those that came later.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "base/snap_token.h"
#include "tests/robustness/fleet.h"
#include "tests/robustness/schedule.h"
#include "tests/support/engine_session.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

using Readers = std::vector<std::unique_ptr<WatchReader>>;

std::vector<const WatchReader*> all_of(const Readers& readers) {
  std::vector<const WatchReader*> all;
  for (const auto& reader : readers) all.push_back(reader.get());
  return all;
}

// A transaction that waits for its second phase; rolled back when nobody decides.
class Prepared {
 public:
  // Takes the session's open transaction away from it.
  Prepared(const std::string& uri, EngineSession& session) : sql_(uri) {
    static std::atomic<int> counter = 0;
    name_ = "hg" + std::to_string(::getpid()) + "_" + std::to_string(++counter);
    session.run("PREPARE TRANSACTION '" + name_ + "'");
  }
  ~Prepared() {
    if (!name_.empty()) decide("ROLLBACK");
  }
  void decide(const std::string& verb) { sql_.run(verb + " PREPARED '" + std::exchange(name_, "") + "'"); }

 private:
  EngineSession sql_;
  std::string name_;
};

// Others that hold an xid as long as this object lives: in the same database, in another one, and prepared.
class Others {
 public:
  Others(const std::string& uri, const std::string& other_uri) : near_(uri), far_(other_uri), session_(uri) {
    near_.begin_foreign();
    near_.run("CREATE TABLE of_somebody_else (n int)");
    far_.begin_foreign();
    session_.begin_foreign();
    prepared_ = std::make_unique<Prepared>(uri, session_);
  }
  ~Others() {
    near_.rollback();
    far_.rollback();
  }

 private:
  EngineSession near_, far_, session_;
  std::unique_ptr<Prepared> prepared_;
};

std::string newest_token(const WatchReader& reader) {
  const auto messages = reader.messages();
  return messages.empty() ? kBeginning : messages.back().snap_token();
}

double delay_of_a_write(Pod& pod, const WatchReader& reader, const std::string& doc) {
  const size_t before = reader.count();
  REQUIRE(pod.client->write(reader.tenant(), {tuple_of("doc:" + doc + "#owner@user:a")}).status.ok());
  const auto committed = std::chrono::steady_clock::now();
  REQUIRE(reader.wait_for(before + 1, 20s));
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - committed).count();
}

using Three = std::array<std::unique_ptr<EngineSession>, 3>;
// Only inserts: the server lets any of these commit in any order.
Three begin_three(const std::string& uri, int round) {
  Three sessions;
  for (size_t i = 0; i < 3; ++i) {
    sessions[i] = std::make_unique<EngineSession>(uri);
    sessions[i]->begin("acme");
    sessions[i]->add("r" + std::to_string(round) + "_" + std::to_string(i));
  }
  return sessions;
}

}  // namespace

TEST_SUITE("robustness/commits") {
  TEST_CASE("orders: all six of three open transactions, with looks in between, beside transactions of others") {
    HG_FLEET(fleet);
    HG_POSTGRES(elsewhere);
    Pod& pod = fleet->start();
    pod.client->create_tenant("acme", kSchema);
    const Others others(fleet->uri(), elsewhere->uri());
    Readers readers;
    readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", kBeginning));
    REQUIRE(readers[0]->wait_open(10s));
    struct Bootstrap {
      std::vector<std::string> state;
      std::unique_ptr<WatchReader> reader;
    };
    std::vector<Bootstrap> bootstraps;
    std::vector<double> delays;
    std::array<size_t, 3> order = {0, 1, 2};
    int round = 0;
    do {
      Three sessions = begin_three(fleet->uri(), round);
      // A write of the API in the middle: its token has the three as holes.
      const WriteAnswer write =
          pod.client->write("acme", {tuple_of("doc:mid" + std::to_string(round) + "#owner@user:a")});
      REQUIRE_MESSAGE(write.status.ok(), write.status.error_message());
      for (size_t step = 0; step < 3; ++step) {
        sessions[order[step]]->commit();
        let_it_look(pod);
        if (step == 1) {
          readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", newest_token(*readers[0])));
          bootstraps.push_back({pod.client->tuples_at("acme", write.token),
                                std::make_unique<WatchReader>(*pod.client, "acme", write.token)});
        }
      }
      REQUIRE(wait_for_all(*readers[0], read_truth(fleet->uri()), 20s));
      delays.push_back(delay_of_a_write(pod, *readers[0], "end" + std::to_string(round)));
      ++round;
    } while (std::ranges::next_permutation(order).found);

    const Truth truth = read_truth(fleet->uri());
    CHECK(truth.at("acme").size() == 30);
    CHECK(check_readers(truth, all_of(readers), 20s) == "");
    CHECK(check_never_stalled(delays, 2'000) == "");
    const auto now = pod.client->tuples_at("acme", "");
    for (const Bootstrap& bootstrap : bootstraps) {
      REQUIRE(wait_for_all(*bootstrap.reader, truth, 20s));
      CHECK(check_bootstrap(bootstrap.state, seen("acme", bootstrap.reader->messages()), now) == "");
    }
  }

  TEST_CASE("ends: prepared, aborted and subtransactions, over a kill of the engine") {
    HG_FLEET(fleet);
    Pod& pod = fleet->start();
    pod.client->create_tenant("acme", kSchema);
    const std::string& uri = fleet->uri();
    Readers readers;
    readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", kBeginning));
    EngineSession first(uri), second(uri), third(uri);

    // Committed later than its successor, and prepared in between: nothing may overtake it.
    const uint64_t prepared_xid = first.begin("acme");
    first.add("prepared");
    Prepared prepared(uri, first);
    first.begin("acme");
    first.add("never");
    Prepared dropped(uri, first);
    second.write("acme", "behind");
    // With parts taken back, and a lower xid than what commits beside it.
    third.begin("acme");
    third.run("SAVEPOINT a");
    third.add("undone");
    third.run("SAVEPOINT b");
    third.add("undone_too");
    third.run("ROLLBACK TO a");
    third.add("kept");
    third.run("RELEASE a");
    second.begin("acme");
    second.add("aborted");
    second.rollback();
    second.write("acme", "last");
    let_it_look(pod);
    CHECK(readers[0]->count() == 0);

    // The engine that comes up finds all of them as they are.
    pod.program.kill();
    pod.program.start();
    REQUIRE(readers[0]->wait_end(20s));
    readers.clear();
    readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", kBeginning));
    readers.push_back(
        std::make_unique<WatchReader>(*pod.client, "acme", headgate::encode_position_token(prepared_xid)));
    for (const auto& reader : readers) REQUIRE(reader->wait_open(20s));
    let_it_look(pod);
    dropped.decide("ROLLBACK");
    let_it_look(pod);
    CHECK(readers[0]->count() == 0);
    third.commit();
    let_it_look(pod);
    CHECK(readers[0]->count() == 0);
    prepared.decide("COMMIT");

    const Truth truth = read_truth(uri);
    CHECK(check_readers(truth, all_of(readers), 20s) == "");
    std::vector<std::string> texts;
    for (const auto& message : readers[0]->messages()) texts.push_back(texts_of(message).at(0));
    CHECK(texts == std::vector<std::string>{"+doc:prepared#owner@user:u", "+doc:behind#owner@user:u",
                                            "+doc:kept#owner@user:u", "+doc:last#owner@user:u"});
  }

  TEST_CASE("huge: 100,000 changes arrive in bounded parts, whole again for whoever was cut off inside") {
    HG_FLEET(fleet);
    constexpr size_t kPart = 256 << 10;
    Pod& pod = fleet->start({{"feed.part_bytes_max", std::to_string(kPart)}});
    pod.client->create_tenant("acme", kSchema);
    EngineSession writer(fleet->uri()), lower(fleet->uri());
    writer.write("acme", "before");
    Readers readers;
    readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", kBeginning));
    REQUIRE(readers[0]->wait_for(1, 10s));
    lower.begin("acme");
    lower.add("lower");
    writer.begin("acme");
    writer.add_many(100'000);
    writer.commit();
    writer.write("acme", "behind");
    // Cut off in the middle of the parts, once by the client and once by the end of the engine.
    const auto cut = std::make_unique<WatchReader>(*pod.client, "acme", kBeginning);
    lower.commit();
    REQUIRE(cut->wait_for(6, 60s));
    const std::string inside = cut->messages()[5].snap_token();
    CHECK(seen("acme", cut->messages()[5]).more_parts);
    readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", inside));
    readers.push_back(std::make_unique<WatchReader>(*pod.client, "acme", newest_token(*readers[0])));

    const Truth truth = read_truth(fleet->uri());
    CHECK(check_readers(truth, all_of(readers), 120s) == "");
    size_t parts = 0;
    for (const auto& message : readers[1]->messages()) {
      CHECK(message.ByteSizeLong() <= kPart + 256);
      parts += seen("acme", message).more_parts;
    }
    CHECK(parts > 10);
  }
}
