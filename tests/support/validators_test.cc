#include "tests/support/validators.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace headgate::testing {

namespace {

// Three transactions that overlap: 12 commits first, then 10, at last 11. A feed in the order of commits, which lets
// nothing pass that is behind the oldest open transaction, loses 12.
struct Commit {
  uint64_t xid;
  int at;
};
constexpr Commit kCommits[] = {{12, 1}, {10, 2}, {11, 9}};

std::vector<TruthRow> truth() {
  std::vector<TruthRow> rows;
  for (const Commit& commit : kCommits) rows.push_back({"t", commit.xid, {"a"}, {"b"}});
  return rows;
}

SeenMessage message(uint64_t xid) { return {"t", xid, 0, false, {"-a", "+b"}, "bytes" + std::to_string(xid)}; }

// Polls at `times`: delivers what committed behind the last delivered commit and has a lower xid than any open one.
std::vector<SeenMessage> commit_ordered_feed(const std::vector<int>& times) {
  std::vector<SeenMessage> seen;
  int position = 0;
  for (const int now : times) {
    uint64_t oldest_open = 13;
    for (const Commit& commit : kCommits) {
      if (commit.at > now) oldest_open = std::min(oldest_open, commit.xid);
    }
    const int from = position;
    for (int at = from + 1; at <= now; ++at) {
      for (const Commit& commit : kCommits) {
        if (commit.at != at || commit.xid >= oldest_open) continue;
        seen.push_back(message(commit.xid));
        position = at;
      }
    }
  }
  return seen;
}

std::vector<SeenMessage> xid_ordered_feed() { return {message(10), message(11), message(12)}; }

}  // namespace

TEST_SUITE("support/validators") {
  TEST_CASE("complete: a feed in xid order passes, one in the order of commits does not") {
    CHECK(check_complete(truth(), xid_ordered_feed(), "t", 9) == "");
    CHECK(check_complete(truth(), commit_ordered_feed({3, 10}), "t", 9) != "");
    // Without the gate nothing is lost here, but the order is wrong.
    CHECK(check_complete(truth(), {message(11), message(10), message(12)}, "t", 9).find("behind") != std::string::npos);
  }

  TEST_CASE("complete: duplicates, inventions and gaps are named") {
    CHECK(check_complete(truth(), {message(10), message(11), message(11), message(12)}, "t", 9).find("twice") !=
          std::string::npos);
    CHECK(check_complete(truth(), {message(10), message(12)}, "t", 9).find("11 is missing") != std::string::npos);
    CHECK(check_complete(truth(), {message(10), message(11), message(12), message(13)}, "t", 9) != "");
    CHECK(check_complete(truth(), {message(12)}, "t", 11) == "");
    CHECK(check_complete(truth(), {message(10)}, "t", 9, 11) == "");
  }

  TEST_CASE("same: streams may end at different places but not differ") {
    CHECK(check_same(xid_ordered_feed(), {message(10), message(11)}) == "");
    CHECK(check_same(xid_ordered_feed(), {message(10), message(12)}) != "");
  }

  TEST_CASE("atomic: order, contiguity and content of a transaction's parts") {
    CHECK(check_atomic(truth(), xid_ordered_feed()) == "");
    SeenMessage first = message(10), second = message(10);
    first.more_parts = true;
    first.changes = {"-a"};
    second.part = 1;
    second.changes = {"+b"};
    CHECK(check_atomic(truth(), {first, second}) == "");
    CHECK(check_atomic(truth(), {first, message(11)}) != "");
    CHECK(check_atomic(truth(), {first}) != "");
    CHECK(check_atomic(truth(), {second}) != "");
    SeenMessage turned = message(10);
    turned.changes = {"+b", "-a"};
    CHECK(check_atomic(truth(), {turned}) != "");
  }

  TEST_CASE("refused: silence, a wrong start, another end and a late one are named") {
    const StreamEnd good{.ended = true, .code = 11, .reason = "HISTORY_GONE", .waited_ms = 5};
    const auto check = [&](auto change) {
      StreamEnd end = good;
      change(end);
      return check_refused({good, end}, {"HISTORY_GONE"}, 1'000);
    };
    CHECK(check([](StreamEnd&) {}) == "");
    CHECK(check([](StreamEnd& end) { end.ended = false; }) == "stream 1 stays silent");
    CHECK(check([](StreamEnd& end) { end.messages = 1; }) != "");
    CHECK(check([](StreamEnd& end) { end.code = 14; }) != "");
    CHECK(check([](StreamEnd& end) { end.reason = ""; }) != "");
    CHECK(check([](StreamEnd& end) { end.waited_ms = 2'000; }) != "");
  }

  TEST_CASE("goodbyes: ends and hints must be there and be spread") {
    std::vector<StreamEnd> ends;
    for (int i = 0; i < 40; ++i) ends.push_back({.ended = true, .code = 14, .waited_ms = i * 25., .retry_ms = i * 25.});
    CHECK(check_goodbyes(ends, 1'000) == "");
    const auto check = [&](auto change) {
      std::vector<StreamEnd> wrong = ends;
      for (StreamEnd& end : wrong) change(end);
      return check_goodbyes(wrong, 1'000);
    };
    CHECK(check([](StreamEnd& end) { end.ended = false; }) != "");
    CHECK(check([](StreamEnd& end) { end.code = 1; }) != "");
    CHECK(check([](StreamEnd& end) { end.retry_ms = -1; }) != "");
    CHECK(check([](StreamEnd& end) { end.waited_ms = 3; }) == "40 of 40 ends lie in one tenth of the window");
    CHECK(check([](StreamEnd& end) { end.retry_ms = 0; }) == "40 of 40 hints lie in one tenth of the window");
    CHECK(check([](StreamEnd& end) { end.retry_ms += 500; }).find("outside") != std::string::npos);
  }

  TEST_CASE("bootstrap: state and stream together give the state at the end") {
    const std::vector<SeenMessage> seen = {{"t", 10, 0, false, {"-doc:1#o@u:a", "+doc:2#o@u:a", "+doc:2$size=1"}, ""}};
    CHECK(check_bootstrap({"doc:1#o@u:a"}, seen, {"doc:2#o@u:a"}) == "");
    CHECK(check_bootstrap({"doc:1#o@u:a"}, {}, {"doc:1#o@u:a", "doc:2#o@u:a"}) ==
          "doc:2#o@u:a is neither in the state nor in the stream behind it");
    CHECK(check_bootstrap({"doc:1#o@u:a"}, {}, {}) == "doc:1#o@u:a was never taken away");
  }

  TEST_CASE("never stalled: one late message is enough") {
    CHECK(check_never_stalled({1, 2, 3}, 100) == "");
    CHECK(check_never_stalled({1, 2000, 3}, 100) != "");
  }
}

}  // namespace headgate::testing
