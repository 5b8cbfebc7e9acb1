#include "base/snap_token.h"

#include <doctest/doctest.h>

using namespace headgate;

TEST_SUITE("base/snap_token") {
  TEST_CASE("snap_token: the legacy form is the xid in little-endian bytes") {
    CHECK(encode_legacy_token(4) == "BAAAAAAAAAA=");
    CHECK(encode_legacy_token(12) == "DAAAAAAAAAA=");
    CHECK(encode_legacy_token(43242) == "6qgAAAAAAAA=");
    CHECK(encode_legacy_token(0) == "AAAAAAAAAAA=");
    CHECK(decode_snap_token("6qgAAAAAAAA=")->xid == 43242);
  }

  TEST_CASE("snap_token: the token of a write lists itself and fills the hole above the old xmax") {
    const auto token = [](uint64_t xid, const PgSnapshot& raw) {
      return format_pg_snapshot(token_of_write(xid, raw).snapshot);
    };
    CHECK(token(4, {100, 100, {}}) == "4:100:4");
    CHECK(token(12, {200, 200, {150}}) == "12:200:12,150");
    CHECK(token(305, {300, 302, {300}}) == "300:306:300,302,303,304,305");
    CHECK(encode_snap_token(token_of_write(4, *parse_pg_snapshot("100:100:"))) == "NDo0OjEwMDo0");
  }

  TEST_CASE("snap_token: a position names the state below it") {
    const auto token = decode_snap_token(encode_position_token(757));
    REQUIRE(token.ok());
    CHECK(token->is_position());
    CHECK(token->xid == 756);
    CHECK_FALSE(decode_snap_token("BAAAAAAAAAA=")->is_position());
  }

  TEST_CASE("snap_token: malformed text is refused with a reason") {
    for (const char* text : {"", "%%", "abc", "Z2FyYmFnZQ==", "eDoxOjI6", "MTo5OjE6", "MToxOjk5OjUs", "MToxOjk6NSw0",
                             "OTAwMDAwMDAwMDAwMDAwMDAwMDo1OjU6"}) {
      CAPTURE(text);
      const auto token = decode_snap_token(text);
      CHECK(token.status().code() == StatusCode::kInvalidArgument);
      CHECK(message_of(token.status()).find("malformed snap token") == 0);
    }
  }
}
