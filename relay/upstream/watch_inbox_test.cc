#include "relay/upstream/watch_stream.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

TEST_SUITE_BEGIN("relay/upstream");

TEST_CASE("inbox: of the lists that nobody takes only the newest is kept, and it comes first") {
  WatchInbox inbox;
  inbox.put(WatchMessage{"a"});
  for (int i = 1; i <= 1000; ++i) inbox.put(TenantsListed{std::vector<std::string>{std::to_string(i)}});
  inbox.put(WatchMessage{"b"});
  const std::deque<WatchNote> notes = inbox.take(Duration(0), {});
  REQUIRE(notes.size() == 3);
  REQUIRE(std::holds_alternative<TenantsListed>(notes[0]));
  CHECK(*std::get<TenantsListed>(notes[0]).names == std::vector<std::string>{"1000"});
  CHECK(std::get<WatchMessage>(notes[1]).tenant == "a");
  CHECK(std::get<WatchMessage>(notes[2]).tenant == "b");
  CHECK(inbox.take(Duration(0), {}).empty());
}

TEST_SUITE_END();

}  // namespace headgate::relay
