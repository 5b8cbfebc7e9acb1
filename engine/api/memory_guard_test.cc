#include "engine/api/memory_guard.h"

#include <numeric>

#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

constexpr size_t kMiB = 1 << 20;
constexpr size_t kKiB = 1 << 10;

struct Guarded {
  ManualClock clock;
  MemoryGuard guard{96 * kMiB, clock};

  // As the listener does it. Nobody is ended: 0; several: their sum.
  uint64_t look(size_t resident, const std::vector<ConnectionUse>& all, Duration unanswered = Duration(0)) {
    const bool alarmed = guard.look(resident, unanswered);
    if (guard.window_over()) guard.begin(all);
    clock.advance(Duration(20));
    const std::vector<uint64_t> ended = alarmed ? guard.worst(all) : std::vector<uint64_t>();
    return std::accumulate(ended.begin(), ended.end(), uint64_t{0});
  }
};

}  // namespace

TEST_SUITE("engine/api/memory_guard") {
  TEST_CASE("memory guard: who said much of which nothing came is ended, one after the other while memory grows") {
    Guarded g;
    const ConnectionUse busy{1, 90 * kMiB, 10 * kMiB, 100'000}, reader{2, kMiB, 900 * kMiB, 1};
    const ConnectionUse bad{3, 200 * kKiB, 100, 0, 1}, worse{4, 300 * kKiB, 100, 0, 2};
    CHECK(g.look(100 * kMiB, {busy, reader}) == 0);
    CHECK(g.look(120 * kMiB, {busy, reader, bad, worse}) == 0);
    CHECK(g.look(140 * kMiB, {busy, reader, bad, worse}) == 4);
    CHECK(g.look(141 * kMiB, {busy, reader, bad}) == 0);
    CHECK(g.look(160 * kMiB, {busy, reader, bad}) == 3);
    CHECK(g.look(300 * kMiB, {busy, reader}) == 0);
  }

  TEST_CASE("memory guard: the connections of one peer are ended together, another's are not") {
    Guarded g;
    CHECK(g.look(100 * kMiB, {}) == 0);
    const std::vector<ConnectionUse> all = {
        {1, 100 * kKiB, 0, 0, 7}, {10, 90 * kKiB, 0, 0, 7}, {100, 90 * kKiB, 0, 0, 8}, {1000, 20 * kKiB, 0, 0, 7}};
    CHECK(g.look(140 * kMiB, all) == 11);
  }

  TEST_CASE("memory guard: memory that messages explain ends nobody") {
    Guarded g;
    std::vector<ConnectionUse> writers;
    for (uint64_t id = 1; id <= 40; ++id) writers.push_back({id, 4 * kMiB, 100, 0});
    CHECK(g.look(100 * kMiB, writers) == 0);
    CHECK(g.look(400 * kMiB, writers) == 0);
    CHECK(g.look(500 * kMiB, writers) != 0);
  }

  TEST_CASE("memory guard: large writes that are let in are no harm, whatever else fills memory") {
    Guarded g;
    const ConnectionUse loader{1, 600 * kMiB, kMiB, 10'000};
    CHECK(g.look(100 * kMiB, {loader}) == 0);
    CHECK(g.look(900 * kMiB, {loader}) == 0);
  }

  TEST_CASE("memory guard: what connections sent that have ended explains memory for a while") {
    Guarded g;
    const ConnectionUse last{9, 900 * kKiB, 100, 0};
    CHECK(g.look(100 * kMiB, {}) == 0);
    for (uint64_t id = 1; id < 9; ++id) g.guard.left({id, 900 * kKiB, 100, 1});
    CHECK(g.look(200 * kMiB, {last}) == 0);
    g.clock.advance(Duration(5'000));
    CHECK(g.look(200 * kMiB, {last}) == 0);
    g.clock.advance(Duration(5'000));
    CHECK(g.look(100 * kMiB, {}) == 0);
    g.clock.advance(Duration(5'000));
    CHECK(g.look(100 * kMiB, {}) == 0);
    CHECK(g.look(220 * kMiB, {{10, 900 * kKiB, 100, 0}}) == 10);
  }

  TEST_CASE("memory guard: when calls are not answered, who sent most of what nothing came of is ended") {
    Guarded g;
    const ConnectionUse small{1, 500 * kKiB, 0, 0, 1}, large{2, 2 * kMiB, 0, 0, 2}, larger{3, 3 * kMiB, 0, 0, 3};
    CHECK(g.look(100 * kMiB, {small, large, larger}, Duration(300)) == 0);
    CHECK(g.look(100 * kMiB, {small, large, larger}, Duration(500)) == 0);
    CHECK(g.look(100 * kMiB, {small, large, larger}, Duration(1'000)) == 3);
    CHECK(g.look(100 * kMiB, {small, large}, Duration(1'000)) == 0);
    g.clock.advance(Duration(100));
    CHECK(g.look(100 * kMiB, {small, large}, Duration(1'000)) == 2);
    g.clock.advance(Duration(100));
    CHECK(g.look(100 * kMiB, {small}, Duration(1'000)) == 0);
    // Much more is not waited for.
    CHECK(g.look(100 * kMiB, {{9, 20 * kMiB, 0, 0, 4}}, Duration(500)) == 9);
    // And memory counts as ever.
    CHECK(g.look(150 * kMiB, {small}, Duration(1'000)) == 1);
  }

  TEST_CASE("memory guard: streams that are read and a slow rise end nobody") {
    Guarded g;
    const std::vector<ConnectionUse> all = {{1, 500 * kKiB, 100 * kMiB, 1}, {2, 10 * kKiB, 0, 0}};
    CHECK(g.look(100 * kMiB, all) == 0);
    CHECK(g.look(900 * kMiB, all) == 0);
    Guarded slow;
    const std::vector<ConnectionUse> uploading = {{1, 5 * kMiB, 0, 0}};
    for (size_t mib = 100; mib < 1'000; ++mib) {
      CHECK(slow.look(mib * kMiB, uploading) == 0);
      slow.clock.advance(Duration(500));
    }
  }

  TEST_CASE("memory guard: one connection that fills memory by itself is ended early") {
    Guarded g;
    CHECK(g.look(100 * kMiB, {{1, 0, 0, 0}}) == 0);
    CHECK(g.look(120 * kMiB, {{1, 20 * kMiB, 0, 0}}) == 0);
    CHECK(g.look(140 * kMiB, {{1, 30 * kMiB, 0, 0}}) == 1);
  }

  TEST_CASE("memory guard: what a connection said in quiet times does not count") {
    Guarded g;
    const ConnectionUse old{1, 50 * kMiB, kMiB, 0};
    for (int i = 0; i < 2'000; ++i) CHECK(g.look(100 * kMiB, {old}) == 0);
    ConnectionUse fresh{2, 40 * kKiB, 0, 0};
    CHECK(g.look(250 * kMiB, {old, fresh}) == 2);
  }
}

}  // namespace headgate::engine
