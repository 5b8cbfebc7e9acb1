#include "relay/delivery/place.h"

#include "base/snap_token.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

EventPtr event(const std::string& tenant, uint64_t xid, uint32_t part = 0, bool more = false) {
  auto made = std::make_shared<Event>();
  made->tenant = tenant;
  made->xid = xid;
  made->part = part;
  made->more_parts = more;
  made->snap_token = "t" + std::to_string(more ? xid - 1 : xid);
  made->incarnation = "7/1";
  return made;
}

void deliver(SinkPlace& place, EventPtr made) {
  std::vector<sinks::Delivery> batch;
  place.assign(std::move(made), batch);
  place.end_batch(batch);
  place.acknowledged(batch.front());
}

Progress mark(uint64_t position) { return {position, "p" + std::to_string(position), "7/1"}; }

// As a restart would find it.
SinkPlace reloaded(const SinkPlace& place, std::map<std::string, Cursor> stored = {}) {
  for (const CursorUpdate& update : place.changes()) stored[update.tenant] = update.cursor;
  return SinkPlace(stored);
}

}  // namespace

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("sink place: sequences are dense per tenant and name the token before") {
  SinkPlace place;
  std::vector<sinks::Delivery> batch;
  place.assign(event("a", 5), batch);
  place.assign(event("b", 6), batch);
  place.assign(event("a", 7), batch);
  CHECK(batch[0].sequence == 1);
  CHECK(batch[0].previous_token == "");
  CHECK(batch[1].sequence == 1);
  CHECK(batch[2].sequence == 2);
  CHECK(batch[2].previous_token == "t5");
  place.end_batch(batch);
  place.acknowledged(batch[0]);
  // What was not acknowledged gets the same numbers again.
  std::vector<sinks::Delivery> again;
  place.assign(event("a", 7), again);
  CHECK(again[0].sequence == 2);
  CHECK(again[0].previous_token == "t5");
}

TEST_CASE("sink place: the sequence goes on over a restart") {
  SinkPlace place;
  deliver(place, event("a", 5));
  SinkPlace later = reloaded(place);
  std::vector<sinks::Delivery> batch;
  later.assign(event("a", 8), batch);
  CHECK(batch[0].sequence == 2);
  CHECK(batch[0].previous_token == "t5");
}

TEST_CASE("sink place: what is at or before the cursor of the same history is a repeat") {
  SinkPlace place;
  deliver(place, event("a", 5, 0, true));
  deliver(place, event("a", 5, 1, true));
  CHECK(place.has(*event("a", 5, 1), true, {}));
  CHECK(place.has(*event("a", 4), true, {}));
  CHECK_FALSE(place.has(*event("a", 5, 2), true, {}));
  CHECK_FALSE(place.has(*event("b", 1), true, {}));
  auto other = std::make_shared<Event>(*event("a", 3));
  other->incarnation = "7/2";
  CHECK_FALSE(place.has(*other, true, {}));
}

TEST_CASE("sink place: without order only the same event is a repeat") {
  SinkPlace place;
  for (const uint64_t xid : {5, 3, 9}) {
    auto unordered = std::make_shared<Event>(*event("a", xid));
    unordered->incarnation.clear();
    deliver(place, unordered);
  }
  CHECK(place.has(*event("a", 3), false, {}));
  CHECK_FALSE(place.has(*event("a", 4), false, {}));
}

TEST_CASE("sink place: quiet tenants start at the progress, busy ones at their cursor") {
  SinkPlace place;
  deliver(place, event("quiet", 5));
  deliver(place, event("busy", 50));
  CHECK(place.passed(mark(30)));
  const SourcePlace start = reloaded(place).source_place();
  CHECK(start.token_for("quiet") == "p30");
  CHECK(start.token_for("never seen") == "p30");
  CHECK(start.token_for("busy") == "t50");
  CHECK(start.floor() == 50);
}

TEST_CASE("sink place: a tenant may stand in front of the progress, and then starts at its own cursor") {
  SinkPlace place;
  place.passed(mark(10));
  deliver(place, event("a", 5));
  CHECK_FALSE(place.is_ahead());
  deliver(place, event("b", 15));
  CHECK(place.is_ahead());
  CHECK(place.source_place().token_for("b") == "t15");
  CHECK(reloaded(place).is_ahead());
  place.passed(mark(15));
  CHECK(place.is_ahead());
  place.passed(mark(16));
  CHECK_FALSE(place.is_ahead());
  CHECK(place.source_place().start_of("b").quiet);
}

TEST_CASE("sink place: a mark that is older than the progress changes nothing") {
  SinkPlace place;
  CHECK(place.passed(mark(30)));
  CHECK_FALSE(place.passed(mark(29)));
  CHECK(place.progress().position == 30);
}

TEST_CASE("sink place: progress never carries a failed tenant over its missing events") {
  SinkPlace place;
  deliver(place, event("a", 5));
  place.hold("a", "t5");
  place.passed(mark(100));
  CHECK(reloaded(place).source_place().token_for("a") == "t5");
  CHECK(reloaded(place).source_place().token_for("b") == "p100");
}

TEST_CASE("sink place: a failed tenant that never had an event keeps the start it was refused") {
  SinkPlace place;
  place.passed(mark(40));
  place.hold("a", "p40");
  place.passed(mark(100));
  CHECK(reloaded(place).source_place().token_for("a") == "p40");
}

TEST_CASE("sink place: a tenant that flows again is unpinned only by a mark that covers it") {
  SinkPlace place;
  deliver(place, event("a", 5));
  place.hold("a", "t5");
  place.passed(mark(100));
  SinkPlace later = reloaded(place);
  deliver(later, event("a", 6));
  CHECK_FALSE(later.passed(mark(20)));
  CHECK(reloaded(later, {{"", {"p100", 100, 0, false, 0, "7/1"}}}).source_place().token_for("a") == "t6");
  CHECK(later.passed(mark(101)));
  CHECK(reloaded(later).source_place().token_for("a") == "p101");
}

TEST_CASE("sink place: an event that was only assigned leaves no trace in the start") {
  SinkPlace place;
  place.passed(mark(40));
  std::vector<sinks::Delivery> batch;
  place.assign(event("a", 50), batch);
  CHECK(place.source_place().token_for("a") == "p40");
  CHECK(place.cursors().empty());
}

TEST_CASE("sink place: what the sink holds wins, ahead or behind") {
  SinkPlace place;
  deliver(place, event("a", 5));
  deliver(place, event("b", 6));
  deliver(place, event("b", 7));
  const SinkPlace::Recovery recovery = place.recovered({{"a", {"t8", 8, 0, false, 3, "7/1"}},
                                                        {"b", {"t6", 6, 0, false, 1, "7/1"}},
                                                        {"c", {"t9", 9, 0, false, 1, "7/1"}}});
  CHECK(recovery.ahead == 2);
  CHECK(recovery.behind == 1);
  CHECK(place.has(*event("a", 8), true, {}));
  CHECK_FALSE(place.has(*event("b", 7), true, {}));
  place.passed(mark(1));
  CHECK(place.source_place().token_for("b") == "t6");
}

TEST_CASE(
    "sink place: a tenant of which the sink has lost all is told so, and starts at the beginning under new numbers") {
  SinkPlace place;
  deliver(place, event("a", 5));
  deliver(place, event("b", 6));
  place.passed(mark(40));
  CHECK(place.recovered({{"a", {}}}).behind == 1);
  CHECK(place.source_place().token_for("a") == encode_legacy_token(0));
  CHECK(place.source_place().token_for("b") == "p40");
  CHECK_FALSE(place.has(*event("a", 5), true, {}));
  const std::vector<EventPtr> gaps = place.take_gaps();
  REQUIRE(gaps.size() == 1);
  CHECK(gaps[0]->reason == "SINK_LOST_EVENTS");
  CHECK(place.take_gaps().empty());
  std::vector<sinks::Delivery> batch;
  place.assign(gaps[0], batch);
  place.assign(event("a", 5), batch);
  CHECK(batch[0].sequence == 2);
  CHECK(batch[0].previous_token.empty());
  CHECK(batch[1].sequence == 3);
  CHECK(batch[1].previous_token == gaps[0]->snap_token);
  // The same when the GAP was written by itself.
  place.end_batch(batch);
  batch.pop_back();
  place.acknowledged(batch[0]);
  batch.clear();
  place.assign(event("a", 5), batch);
  CHECK(batch[0].sequence == 3);
  CHECK(batch[0].previous_token == gaps[0]->snap_token);
}

TEST_CASE("sink place: the first number of a sink that cannot tell what it was sent lies above all it ever gave") {
  SinkPlace place;
  place.set_first_sequence(1'700'000'000'000'000);
  deliver(place, event("a", 5));
  deliver(place, event("a", 6));
  CHECK(place.cursors().at("a").sequence == 1'700'000'000'000'001);
  SinkPlace later = reloaded(place);
  later.set_first_sequence(1'800'000'000'000'000);
  deliver(later, event("a", 7));
  CHECK(later.cursors().at("a").sequence == 1'700'000'000'000'002);
}

namespace {

EventPtr of_snapshot(sinks::EventKind kind, uint64_t xid, uint32_t part, const std::string& text = "") {
  auto made = std::make_shared<Event>(*event("a", xid, part));
  made->kind = kind;
  made->snapshot = text;
  return made;
}

}  // namespace

TEST_CASE("sink place: a snapshot is resumed behind its last page, and no mark covers its tenant meanwhile") {
  using sinks::EventKind;
  SinkPlace place;
  deliver(place, event("a", 5));
  place.snapshot_due("a");
  place.passed(mark(30));
  CHECK(reloaded(place).source_place().tenants.at("a").snapshot == kSnapshotDue);
  CHECK_FALSE(place.has(*of_snapshot(EventKind::kSnapshotBegin, 29, 0, "+"), true, {}));
  deliver(place, of_snapshot(EventKind::kSnapshotBegin, 29, 0, "+"));
  deliver(place, of_snapshot(EventKind::kSnapshotPage, 29, 1, "+17"));
  place.passed(mark(50));
  const SourcePlace start = reloaded(place).source_place();
  CHECK(start.tenants.at("a").snapshot == "+17");
  CHECK(start.tenants.at("a").part == 1);
  CHECK(start.token_for("a") == "t29");
  CHECK(place.has(*of_snapshot(EventKind::kSnapshotBegin, 29, 0, "+"), true, {}));
  CHECK(place.has(*of_snapshot(EventKind::kSnapshotPage, 29, 1, "+17"), true, {}));
  CHECK_FALSE(place.has(*of_snapshot(EventKind::kSnapshotPage, 29, 2, ".40"), true, {}));
  CHECK(place.has(*of_snapshot(EventKind::kSnapshotPage, 35, 2, ".40"), true, {}));
  CHECK_FALSE(place.has(*of_snapshot(EventKind::kSnapshotBegin, 35, 0, "+"), true, {}));
  deliver(place, of_snapshot(EventKind::kSnapshotPage, 29, 2, ".40"));
  deliver(place, of_snapshot(EventKind::kSnapshotEnd, 29, 3));
  CHECK(place.has(*event("a", 20), true, {}));
  CHECK_FALSE(place.has(*event("a", 30), true, {}));
  CHECK(reloaded(place).source_place().tenants.at("a").snapshot.empty());
  place.passed(mark(60));
  CHECK(reloaded(place).source_place().token_for("a") == "p60");
}

TEST_CASE("sink place: a cursor tells its transaction apart, and what cannot be compared is not compared") {
  SinkPlace place;
  auto made = std::make_shared<Event>(*event("a", 5));
  made->started_at_us = 1234;
  deliver(place, made);
  deliver(place, event("b", 6));
  place.passed({30, "p30", "7/1", {6, 99, "b"}});
  const SinkPlace later = reloaded(place);
  CHECK(later.progress().newest == Identity{6, 99, "b"});
  CHECK(later.cursors().at("a").identity == "5/1234");
  CHECK(later.cursors().at("b").identity.empty());
  CHECK(later.source_place().start_of("a").last_started_at_us == 1234);
  CHECK(later.source_place().start_of("b").last_xid == 0);
  const auto all = later.source_place().all_starts();
  CHECK(all.at("a").quiet);
  CHECK(all.at("a").snap_token == encode_legacy_token(5));
  CHECK(all.at("b").last_xid == 6);
}

TEST_CASE("sink place: a tenant that was deleted keeps its number for its next life") {
  SinkPlace place;
  deliver(place, event("a", 5));
  auto removed = std::make_shared<Event>(*event("a", 6));
  removed->kind = sinks::EventKind::kTenantRemoved;
  deliver(place, removed);
  SinkPlace later = reloaded(place);
  CHECK_FALSE(later.is_new("a"));
  deliver(later, event("a", 9));
  CHECK(later.cursors().at("a").sequence == 3);
}

TEST_CASE("sink place: tenants are told in the order of names") {
  SinkPlace place;
  for (const char* name : {"m", "c", "x", "a", "q"}) deliver(place, event(name, 5));
  std::string order;
  for (size_t i = 0; i < place.tenants().size(); ++i) order += *place.tenants().at(i).name;
  CHECK(order == "acmqx");
  CHECK(place.tenants().place_of("q") == 3);
  CHECK(place.tenants().first_after("a") == 1);
  CHECK(place.tenants().first_after("b") == 1);
  CHECK(place.tenants().first_after("x") == 5);
}

TEST_CASE("sink place: many tenants in any order, with cursors of two histories") {
  SinkPlace place;
  std::map<std::string, Cursor> wanted;
  for (uint64_t i = 0; i < 1'000; ++i) {
    const std::string name = "tenant " + std::to_string(i * 7919 % 1'000);
    auto made = std::make_shared<Event>(*event(name, i + 1));
    if (i % 3 == 0) made->incarnation = "7/2";
    wanted[name] = {made->snap_token, made->xid, 0, false, 1, made->incarnation};
    deliver(place, made);
  }
  CHECK(place.cursors() == wanted);
  CHECK(reloaded(place).cursors() == wanted);
}

TEST_CASE("sink place: a quiet tenant costs less than a kibibyte in five sinks") {
  // A long token beside the entry, a long name and its place in the table of names, the place in the order of names.
  const size_t shared = 64 + 64 + 48;
  CHECK(5 * (sizeof(TenantEntry) + 64 + sizeof(uint32_t)) + shared < 1'024);
}

TEST_CASE("source place: quiet tenants need no entry once a mark has passed them") {
  SourcePlace place;
  place.passed(*event("a", 5));
  place.passed(*event("b", 50));
  place.hold("c", "t1");
  place.passed(mark(30));
  CHECK(place.tenants.size() == 2);
  CHECK(place.token_for("a") == "p30");
  CHECK(place.token_for("b") == "t50");
  CHECK(place.token_for("c") == "t1");
}

TEST_SUITE_END();

}  // namespace headgate::relay
