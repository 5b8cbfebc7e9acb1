#include "engine/api/stranger_guard.h"

#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

ConnectionUse use(uint64_t id, uint64_t received, uint64_t admitted = 0, uint64_t sent = 0) {
  ConnectionUse one;
  one.id = id;
  one.received = received;
  one.admitted = admitted;
  one.sent = sent;
  return one;
}

using Ids = std::vector<uint64_t>;

}  // namespace

TEST_SUITE("stranger_guard") {
  TEST_CASE("strangers: who says more than a greeting has so long for a first call that is let in") {
    ManualClock clock;
    StrangerGuard guard(Duration(30'000), clock);
    const std::vector<ConnectionUse> all = {use(1, 500), use(2, 60'000), use(3, 60'000, 1), use(4, 9'000)};
    CHECK(guard.late(all) == Ids{});
    clock.advance(Duration(29'000));
    CHECK(guard.late(all) == Ids{});
    clock.advance(Duration(1'000));
    CHECK(guard.late({use(1, 500), use(2, 60'000), use(3, 60'000, 1), use(4, 9'000, 1)}) == Ids{2});
    // Another one that happens to come then has its own time.
    CHECK(guard.late({use(5, 60'000)}) == Ids{});
  }

  TEST_CASE("strangers: when memory is short the ones that said most without a call go, and at last all of them") {
    std::vector<ConnectionUse> all = {use(1, 100),          use(2, 10'000), use(3, 6'000, 0, 1 << 30),
                                      use(4, 900'000, 100), use(5, 700),    use(6, 4 << 20, 2, size_t{8} << 30)};
    CHECK(StrangerGuard::to_make_room(all) == Ids{2, 3});
    std::erase_if(all, [](const ConnectionUse& one) { return one.id == 2 || one.id == 3; });
    CHECK(StrangerGuard::to_make_room(all) == Ids{5});
    std::erase_if(all, [](const ConnectionUse& one) { return one.id == 5; });
    CHECK(StrangerGuard::to_make_room(all) == Ids{});
  }

  TEST_CASE("strangers: one call does not excuse everything else") {
    CHECK(StrangerGuard::to_make_room({use(1, 300'000, 1), use(2, 300'000, 5)}) == Ids{1});
  }
}

}  // namespace headgate::engine
