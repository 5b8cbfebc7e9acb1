#include "engine/storage/connection_room.h"

#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

const Status kFull = unavailable("the database cannot be reached: FATAL:  53300: sorry, too many clients already");
const Status kAway = unavailable("the database cannot be reached: Connection refused");

TEST_SUITE("storage/connection_room") {
  TEST_CASE("connection room: a refusal lowers the limit to what stands, and one more is tried after a pause") {
    ConnectionRoom room(10, 1);
    CHECK(room.may_open(9));
    CHECK_FALSE(room.may_open(10));
    CHECK(room.limit() == 10);
    CHECK_FALSE(room.scarce());
    CHECK(room.on_refused(3, kFull));
    CHECK(room.limit() == 3);
    CHECK(room.may_open(2));
    CHECK_FALSE(room.may_open(3));
    CHECK(room.scarce());
    CHECK(room.refusal() == kFull);
    CHECK(testing::wait_until([&] { return room.may_open(3); }));
    room.on_connected(4);
    CHECK(room.refusal().ok());
    CHECK(room.limit() == 4);
    CHECK(room.may_open(4));
  }

  TEST_CASE("connection room: with nothing open, only too many connections are waited out") {
    ConnectionRoom room(10, 1);
    CHECK_FALSE(room.on_refused(0, kAway));
    CHECK(room.limit() == 10);
    CHECK_FALSE(room.on_refused(0, invalid_argument("no uri")));
    CHECK(room.on_refused(0, kFull));
    CHECK(room.limit() == 1);
    CHECK_FALSE(room.may_open(0));
    // A pooler that makes newcomers wait says nothing of numbers; those that stand say enough.
    CHECK(room.on_refused(2, kAway));
    CHECK(room.limit() == 2);
  }

  TEST_CASE("connection room: a place that is given up stays free for a while") {
    ConnectionRoom room(10, 1);
    room.give_up_one(4);
    CHECK(room.limit() == 3);
    CHECK_FALSE(room.may_open(3));
    room.give_up_one(1);
    CHECK(room.limit() == 1);
  }
}

}  // namespace
}  // namespace headgate::engine
