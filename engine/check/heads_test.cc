#include "engine/check/heads.h"

#include <atomic>
#include <thread>

#include "engine/model/errors.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using testing::wait_until;

// Answers with the number of the statement; a closed gate holds a statement back once it has been sent.
class GatedHeads : public HeadReader {
 public:
  StatusOr<Heads> read(std::span<const std::string> tenants) override {
    const int number = ++sent;
    {
      MutexLock lock(mutex_);
      asked_ = {tenants.begin(), tenants.end()};
    }
    wait_until([&] { return open.load(); });
    if (failing) return api_error(base::v1::ERROR_CODE_SCAN);
    Heads heads;
    heads.at.xid = static_cast<uint64_t>(number);
    heads.versions.assign(tenants.size(), "v" + std::to_string(number));
    return heads;
  }
  std::vector<std::string> asked() {
    MutexLock lock(mutex_);
    return asked_;
  }

  std::atomic<int> sent{0};
  std::atomic<bool> open{true};
  std::atomic<bool> failing{false};

 private:
  Mutex mutex_;
  std::vector<std::string> asked_ GUARDED_BY(mutex_);
};

Status waits() { return ok_status(); }

uint64_t number_of(const StatusOr<Head>& head) {
  REQUIRE_MESSAGE(head.ok(), describe(head.status()));
  return head->at.xid;
}

TEST_SUITE("check/heads") {
  TEST_CASE("heads: a state serves others while it is fresh, and none after a write") {
    GatedHeads reader;
    HeadKeeper heads(reader, Duration(3'600'000));
    CHECK(number_of(heads.get("a", Freshness::kBounded, waits)) == 1);
    CHECK(number_of(heads.get("a", Freshness::kBounded, waits)) == 1);
    CHECK(number_of(heads.get("b", Freshness::kBounded, waits)) == 2);  // its schema is not known yet
    CHECK(number_of(heads.get("b", Freshness::kBounded, waits)) == 2);
    CHECK(number_of(heads.get("a", Freshness::kStrict, waits)) == 3);
    CHECK(number_of(heads.get("a", Freshness::kBounded, waits)) == 3);
    heads.wrote();
    CHECK(number_of(heads.get("a", Freshness::kBounded, waits)) == 4);
    CHECK(heads.get("a", Freshness::kBounded, waits)->version == "v4");
    HeadKeeper none(reader, Duration(0));
    const uint64_t first = number_of(none.get("a", Freshness::kBounded, waits));
    wait_until([begin = std::chrono::steady_clock::now()] {
      return std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(2);
    });
    CHECK(number_of(none.get("a", Freshness::kBounded, waits)) > first);
  }

  TEST_CASE("heads: who comes while a statement is under way waits for the next, together with all others") {
    GatedHeads reader;
    HeadKeeper heads(reader, Duration(0));
    reader.open = false;
    std::atomic<uint64_t> first_answer{0};
    std::jthread first([&] { first_answer = number_of(heads.get("a", Freshness::kStrict, waits)); });
    REQUIRE(wait_until([&] { return reader.sent == 1; }));
    constexpr int kLater = 8;
    std::array<std::atomic<uint64_t>, kLater> answers{};
    std::atomic<int> waiting{0};
    std::vector<std::jthread> later;
    for (int i = 0; i < kLater; ++i) {
      later.emplace_back([&, i] {
        const std::string tenant = "t" + std::to_string(i % 2);
        bool told = false;
        // It is asked for the first time when the thread has joined.
        answers[static_cast<size_t>(i)] = number_of(heads.get(tenant, Freshness::kStrict, [&] {
          if (!std::exchange(told, true)) ++waiting;
          return ok_status();
        }));
      });
    }
    REQUIRE(wait_until([&] { return waiting == kLater; }));
    CHECK(reader.sent == 1);
    reader.open = true;
    first.join();
    for (std::jthread& one : later) one.join();
    CHECK(first_answer == 1);
    for (const auto& answer : answers) CHECK(answer == 2);
    CHECK(reader.sent == 2);
    CHECK(reader.asked().size() == 2);
  }

  TEST_CASE("heads: a statement that fails fails those who waited for it, and nobody after them") {
    GatedHeads reader;
    HeadKeeper heads(reader, Duration(3'600'000));
    reader.failing = true;
    CHECK(describe(heads.get("a", Freshness::kBounded, waits).status()) == "INTERNAL: ERROR_CODE_SCAN");
    reader.failing = false;
    CHECK(number_of(heads.get("a", Freshness::kBounded, waits)) == 2);
  }

  TEST_CASE("heads: who does not want to wait any more goes, and the others are answered") {
    GatedHeads reader;
    HeadKeeper heads(reader, Duration(0));
    reader.open = false;
    std::jthread first([&] { number_of(heads.get("a", Freshness::kStrict, waits)); });
    REQUIRE(wait_until([&] { return reader.sent == 1; }));
    const auto gone = heads.get("b", Freshness::kStrict, [] { return api_error(base::v1::ERROR_CODE_CANCELLED); });
    CHECK(gone.status().code() == StatusCode::kCancelled);
    reader.open = true;
    first.join();
    CHECK(number_of(heads.get("c", Freshness::kStrict, waits)) == 2);
  }
}

}  // namespace
}  // namespace headgate::engine
