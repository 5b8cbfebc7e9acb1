#include "engine/feed/start.h"

#include <doctest/doctest.h>

namespace headgate::engine {

namespace {

StartFacts facts() {
  StartFacts all;
  all.tenant = {.oldest_xid = 100, .newest_xid = 180, .floor = 0};
  all.now = {200, 200, {}};
  return all;
}

std::string reason(const SnapToken& token, const StartFacts& known) {
  const auto start = decide_start(token, known);
  if (start.ok()) return "";
  CHECK(start.status().code() == StatusCode::kOutOfRange);
  return reason_of(start.status());
}

SnapToken legacy(uint64_t xid) { return {SnapToken::Form::kLegacy, xid, {}}; }
SnapToken position(uint64_t at) { return *decode_snap_token(encode_position_token(at)); }

}  // namespace

TEST_SUITE("feed/start") {
  TEST_CASE("start: malformed text is INVALID_ARGUMENT") {
    const auto token = read_token("%%");
    CHECK(token.status().code() == StatusCode::kInvalidArgument);
    CHECK(reason_of(token.status()) == kMalformedToken);
  }

  TEST_CASE("start: a legacy token starts behind its transaction") {
    StartFacts known = facts();
    known.tenant.has_xid = true;
    const auto start = decide_start(legacy(150), known);
    REQUIRE(start.ok());
    CHECK(start->from == 151);
    CHECK(!start->wants(150));
    CHECK(start->wants(151));
  }

  TEST_CASE("start: a token just returned is not from the future although the horizon is behind it") {
    StartFacts known = facts();
    known.now = {140, 200, {140}};
    known.tenant.has_xid = true;
    CHECK(reason(legacy(150), known).empty());
    known.now = {140, 140, {}};  // a standby's view
    CHECK(reason(legacy(150), known).empty());
  }

  TEST_CASE("start: xid 0 is the beginning unless history was collected") {
    CHECK(decide_start(legacy(0), facts())->from == 0);
    StartFacts known = facts();
    known.tenant.floor = 100;
    CHECK(reason(legacy(0), known) == kHistoryGone);
  }

  TEST_CASE("start: a position needs no transaction of the tenant") {
    CHECK(decide_start(position(170), facts())->from == 170);
    CHECK(decide_start(position(200), facts())->from == 200);
    CHECK(reason(position(201), facts()) == kFutureToken);
    StartFacts known = facts();
    known.tenant.floor = 171;
    CHECK(reason(position(170), known) == kHistoryGone);
    CHECK(reason(position(171), known).empty());
  }

  TEST_CASE("start: unknown, foreign, future and collected tokens are told apart") {
    StartFacts known = facts();
    CHECK(reason(legacy(150), known) == kUnknownToken);
    CHECK(reason(legacy(200), known) == kFutureToken);
    CHECK(reason(legacy(50), known) == kHistoryGone);
    known.tenant.xid_elsewhere = true;
    CHECK(reason(legacy(50), known) == kUnknownToken);
    known.tenant = {};  // the tenant was deleted, or never was
    CHECK(reason(legacy(150), known) == kUnknownToken);
    known = facts();
    known.tenant.has_xid = true;
    known.tenant.floor = 160;
    CHECK(reason(legacy(150), known) == kHistoryGone);
  }

  TEST_CASE("start: tokens of an earlier incarnation are refused") {
    StartFacts known = facts();
    known.incarnation.first_xid = 160;
    known.tenant.has_xid = true;
    CHECK(reason(legacy(159), known) == kOtherIncarnation);
    CHECK(reason(position(159), known) == kOtherIncarnation);
    CHECK(reason(legacy(160), known).empty());
  }

  TEST_CASE("start: a write's token sends what was in progress beside it, and not itself") {
    StartFacts known = facts();
    known.tenant.has_xid = true;
    known.tenant.snapshot = PgSnapshot{140, 148, {140, 145}};
    const SnapToken token = token_of_write(150, *known.tenant.snapshot);
    auto start = decide_start(token, known);
    REQUIRE(start.ok());
    CHECK(start->from == 140);
    CHECK(start->wants(140));
    CHECK(!start->wants(141));
    CHECK(start->wants(148));  // between the snapshot's end and the write: had not begun
    CHECK(!start->wants(150));
    CHECK(start->wants(151));
    keep_rows(*start, 200, {148});
    CHECK(start->from == 148);
    CHECK(!start->wants(140));
    keep_rows(*start, 200, {});
    CHECK(start->from == 151);
    // Permify leaves the hole out of its token; the stored snapshot knows better.
    const SnapToken theirs{SnapToken::Form::kSnapshot, 150, {140, 151, {140, 145, 150}}};
    CHECK(decide_start(theirs, known)->wants(148));
  }

  TEST_CASE("start: the token of now continues exactly what was visible") {
    const PgSnapshot now{190, 200, {190, 195}};
    const auto token = read_token(start_token(now));
    REQUIRE(token.ok());
    StartFacts known = facts();
    known.now = {200, 205, {}};
    const auto start = decide_start(*token, known);
    REQUIRE(start.ok());
    CHECK(start->from == 190);
    CHECK(!start->wants(189));
    CHECK(start->wants(190));
    CHECK(!start->wants(192));
    CHECK(start->wants(195));
    CHECK(start->wants(200));
    CHECK(read_token(start_token({200, 200, {}}))->is_position());
  }
}

}  // namespace headgate::engine
