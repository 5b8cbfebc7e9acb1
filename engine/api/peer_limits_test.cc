#include "engine/api/peer_limits.h"

#include "tests/support/test_main.h"

namespace headgate::engine {

TEST_SUITE("engine/api/peer_limits") {
  TEST_CASE("peer limits: there is a bound for all and one for each, and who leaves makes room") {
    ManualClock clock;
    PeerLimits limits({.in_all = 3, .of_peer = 2, .per_second = 1, .burst = 100}, clock);
    CHECK(limits.enter("a") == Refusal::kNone);
    CHECK(limits.enter("a") == Refusal::kNone);
    CHECK(limits.enter("a") == Refusal::kOfPeer);
    CHECK(limits.enter("b") == Refusal::kNone);
    CHECK(limits.enter("c") == Refusal::kInAll);
    CHECK(limits.open() == 3);
    limits.left("a");
    CHECK(limits.enter("c") == Refusal::kNone);
    limits.left("nobody");
    CHECK(limits.open() == 3);
  }

  TEST_CASE("peer limits: one peer's haste is not another's") {
    ManualClock clock;
    PeerLimits limits({.in_all = 100, .of_peer = 100, .per_second = 2, .burst = 3}, clock);
    for (int i = 0; i < 3; ++i) CHECK(limits.enter("a") == Refusal::kNone);
    CHECK(limits.enter("a") == Refusal::kRate);
    CHECK(limits.enter("b") == Refusal::kNone);
    clock.advance(Duration(500));
    CHECK(limits.enter("a") == Refusal::kNone);
    CHECK(limits.enter("a") == Refusal::kRate);
  }

  TEST_CASE("peer limits: who did harm gets one a second for a while") {
    ManualClock clock;
    PeerLimits limits({.in_all = 100, .of_peer = 100, .per_second = 50, .burst = 50}, clock);
    CHECK(limits.enter("a") == Refusal::kNone);
    limits.slow_down("a", Duration(3'000));
    CHECK(limits.enter("a") == Refusal::kRate);
    for (int i = 0; i < 2; ++i) {
      clock.advance(Duration(1'000));
      CHECK(limits.enter("a") == Refusal::kNone);
      CHECK(limits.enter("a") == Refusal::kRate);
    }
    clock.advance(Duration(2'000));
    for (int i = 0; i < 20; ++i) CHECK(limits.enter("a") == Refusal::kNone);
  }

  TEST_CASE("peer limits: addresses are not remembered without a bound") {
    ManualClock clock;
    PeerLimits limits({.in_all = 10, .of_peer = 10, .per_second = 1, .burst = 2}, clock);
    for (int i = 0; i < 50'000; ++i) {
      const std::string peer = std::to_string(i);
      REQUIRE(limits.enter(peer) == Refusal::kNone);
      limits.slow_down(peer, Duration(1'000'000));
      limits.left(peer);
    }
    CHECK(limits.remembered() <= 10'010);
  }
}

}  // namespace headgate::engine
