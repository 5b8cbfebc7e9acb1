#include "sinks/testing/contract.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/v1/base.pb.h"
#include "sinks/encoding/cloud_event.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

using std::chrono::milliseconds;
using testing::Received;
using Clock = std::chrono::steady_clock;

constexpr Fence kFence{7};
const std::vector<std::string> kTenants = {"t1", "t.2_x", "org:3"};

Delivery delivery_of(const std::string& tenant, uint64_t xid, uint64_t sequence, size_t payload_bytes) {
  auto event = std::make_shared<Event>();
  event->tenant = tenant;
  event->xid = xid;
  event->snap_token = fmt::format("token-{}", xid);
  event->incarnation = "1-1";
  event->started_at_us = 1'700'000'000'000'000 + static_cast<int64_t>(xid);
  ::base::v1::DataChanges changes;
  changes.set_snap_token(event->snap_token);
  ::base::v1::DataChange& change = *changes.add_data_changes();
  change.set_operation(::base::v1::DataChange::OPERATION_CREATE);
  change.mutable_tuple()->mutable_entity()->set_type("document");
  change.mutable_tuple()->mutable_entity()->set_id(std::string(payload_bytes, 'd'));
  change.mutable_tuple()->set_relation("viewer");
  event->payload = changes.SerializeAsString();
  return {event, sequence, sequence == 1 ? "" : fmt::format("token-before-{}", xid)};
}

WriteResult write_all(Sink& sink, std::span<const Delivery> deliveries, Fence fence = kFence) {
  return sink.write({deliveries, fence}, {});
}

void open_ok(Sink& sink) {
  const Status status = sink.open({});
  REQUIRE_MESSAGE(status.ok(), describe(status));
}

void written_ok(const WriteResult& result, size_t count) {
  REQUIRE_MESSAGE(result.status.ok(), describe(result.status));
  REQUIRE(result.written == count);
}

std::map<std::string, std::vector<Received>> by_tenant(const std::vector<Received>& all) {
  std::map<std::string, std::vector<Received>> map;
  for (const Received& event : all) map[event.tenant].push_back(event);
  return map;
}

// Nothing is lost, nothing comes before its predecessor; with `exact` nothing comes twice.
void check_history(const testing::Subscriber& subscriber, std::span<const Delivery> deliveries, bool exact) {
  for (const std::string& fault : subscriber.faults()) FAIL_CHECK(fault);
  std::map<std::string, std::vector<uint64_t>> wanted;
  for (const Delivery& delivery : deliveries) wanted[delivery.event->tenant].push_back(delivery.event->xid);
  const auto got = by_tenant(subscriber.received());
  CHECK(got.size() == wanted.size());
  for (const auto& [name, xids] : wanted) {
    const std::string& tenant = name;  // clang 14 lets no lambda capture a structured binding
    const auto it = got.find(tenant);
    REQUIRE_MESSAGE(it != got.end(), tenant);
    uint64_t highest = 0;
    size_t repeats = 0;
    for (const Received& event : it->second) {
      if (event.sequence <= highest) {
        ++repeats;
        continue;
      }
      REQUIRE_MESSAGE(event.sequence == highest + 1, tenant);
      REQUIRE(event.xid == xids.at(event.sequence - 1));
      highest = event.sequence;
    }
    CHECK(highest == xids.size());
    if (exact) CHECK(repeats == 0);
  }
}

bool is_exact(const Sink& sink) { return sink.info().guarantee == Guarantee::kExactlyOnce; }

}  // namespace

std::vector<Delivery> sample_deliveries(const std::vector<std::string>& tenants, size_t count, size_t payload_bytes) {
  std::vector<Delivery> deliveries;
  deliveries.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    deliveries.push_back(delivery_of(tenants[i % tenants.size()], 1000 + i, i / tenants.size() + 1, payload_bytes));
  }
  return deliveries;
}

bool deliver_all(Sink& sink, std::span<const Delivery> deliveries, milliseconds timeout) {
  const auto end = Clock::now() + timeout;
  std::map<std::string, Cursor> acknowledged;
  size_t at = 0;
  bool open = false;
  while (at < deliveries.size() && Clock::now() < end) {
    if (!open) {
      std::this_thread::sleep_for(milliseconds(20));
      if (!sink.open({}).ok()) continue;
      const auto held = sink.recover(acknowledged, {});
      if (!held.ok()) continue;
      for (const auto& [tenant, cursor] : *held) acknowledged[tenant] = cursor;
      open = true;
    }
    std::vector<Delivery> batch;
    const size_t until = std::min(at + 100, deliveries.size());
    for (size_t i = at; i < until; ++i) {
      const auto it = acknowledged.find(deliveries[i].event->tenant);
      if (it == acknowledged.end() || !already_held(it->second, deliveries[i])) batch.push_back(deliveries[i]);
    }
    const WriteResult result = sink.write({batch, kFence}, {});
    for (size_t i = 0; i < result.written; ++i) acknowledged[batch[i].event->tenant] = cursor_of(batch[i]);
    if (result.written == batch.size()) at = until;
    open = result.status.ok();
  }
  return at == deliveries.size();
}

void check_order_per_tenant(const Contract& contract) {
  const auto sink = contract.make();
  const auto deliveries = sample_deliveries(kTenants, 300);
  open_ok(*sink);
  REQUIRE(sink->recover({}, {}).ok());
  const auto subscriber = contract.subscribe();
  REQUIRE(subscriber->wait_ready(milliseconds(10'000)));
  for (size_t at = 0; at < deliveries.size(); at += 60) written_ok(write_all(*sink, {&deliveries[at], 60}), 60);
  REQUIRE(subscriber->wait_for_all(deliveries.size(), milliseconds(20'000)));
  check_history(*subscriber, deliveries, true);
  const Received first = by_tenant(subscriber->received())["t1"][1];
  CHECK(first.id == "t1/1003/0");
  CHECK(first.token == "token-1003");
  CHECK(first.previous_token == "token-before-1003");
  CHECK(first.incarnation == "1-1");
  CHECK(first.changes.data_changes_size() == 1);
}

void check_close(const Contract& contract) {
  const auto sink = contract.make();
  sink->close();
  const auto deliveries = sample_deliveries({"t"}, 1);
  CHECK(write_all(*sink, deliveries).status.code() == StatusCode::kUnavailable);
  open_ok(*sink);
  sink->close();
  const auto start = Clock::now();
  sink->close();
  CHECK(Clock::now() - start < milliseconds(1000));
  open_ok(*sink);
  written_ok(write_all(*sink, deliveries), 1);
}

void check_absent_server(const Contract& contract) {
  const auto sink = contract.make_absent();
  const auto start = Clock::now();
  const Status status = sink->open({});
  CHECK(status.code() == StatusCode::kUnavailable);
  CHECK(Clock::now() - start < milliseconds(8'000));
  CHECK(write_all(*sink, sample_deliveries({"t"}, 1)).status.code() == StatusCode::kUnavailable);
}

void check_stop_token(const Contract& contract) {
  const auto sink = contract.make();
  open_ok(*sink);
  written_ok(write_all(*sink, sample_deliveries(kTenants, 3)), 3);
  contract.pause();
  std::stop_source source;
  Clock::time_point asked;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(milliseconds(200));
    asked = Clock::now();
    source.request_stop();
  });
  const auto deliveries = sample_deliveries({"waiting"}, 5);
  const WriteResult result = sink->write({deliveries, kFence}, source.get_token());
  stopper.join();
  CHECK(Clock::now() - asked < milliseconds(1000));
  CHECK(!result.status.ok());
  const auto start = Clock::now();
  sink->close();
  CHECK(Clock::now() - start < milliseconds(1200));
  contract.resume();
}

void check_repeated_batch(const Contract& contract) {
  const auto sink = contract.make();
  open_ok(*sink);
  const auto deliveries = sample_deliveries(kTenants, 30);
  written_ok(write_all(*sink, deliveries), 30);
  written_ok(write_all(*sink, deliveries), 30);
  sink->close();
  open_ok(*sink);
  written_ok(write_all(*sink, deliveries), 30);
  // Something new behind it, so that the end of what must arrive is known.
  auto more = sample_deliveries(kTenants, 33);
  written_ok(write_all(*sink, std::span(more).subspan(30)), 3);
  const auto subscriber = contract.subscribe();
  const auto has_all = [&] {
    const auto got = by_tenant(subscriber->received());
    return got.size() == 3 &&
           std::all_of(got.begin(), got.end(), [](const auto& t) { return t.second.back().sequence == 11; });
  };
  REQUIRE(testing::wait_until(has_all, milliseconds(20'000)));
  check_history(*subscriber, more, is_exact(*sink));
}

void check_recover(const Contract& contract) {
  const auto deliveries = sample_deliveries(kTenants, 31);
  {
    const auto sink = contract.make();
    open_ok(*sink);
    written_ok(write_all(*sink, deliveries), 31);
    sink->close();
  }
  std::map<std::string, Cursor> last;
  std::map<std::string, Cursor> stored;
  for (const Delivery& delivery : deliveries) {
    stored.emplace(delivery.event->tenant, cursor_of(delivery));
    last[delivery.event->tenant] = cursor_of(delivery);
  }
  stored["unknown"] = {};
  const auto sink = contract.make();
  open_ok(*sink);
  const auto held = sink->recover(stored, {});
  REQUIRE_MESSAGE(held.ok(), describe(held.status()));
  CHECK(held->count("unknown") == 0);
  for (const auto& known : last) {
    REQUIRE_MESSAGE(held->count(known.first) == 1, known.first);
    CHECK(held->at(known.first) == known.second);
  }
  // Goes on behind it.
  auto more = sample_deliveries(kTenants, 34);
  written_ok(write_all(*sink, std::span(more).subspan(31)), 3);
}

namespace {

// One event of each kind that is numbered, at the place of `last` and behind it.
std::vector<Delivery> all_kinds(const Delivery& last) {
  std::vector<Delivery> deliveries;
  const auto add = [&](EventKind kind, bool own_transaction) -> Event& {
    auto event = std::make_shared<Event>(*last.event);
    event->kind = kind;
    if (!has_changes(kind)) event->payload.clear();
    const uint64_t sequence = last.sequence + deliveries.size() + 1;
    if (own_transaction) event->xid = last.event->xid + sequence;
    deliveries.push_back({event, sequence, last.event->snap_token});
    return *event;
  };
  add(EventKind::kGap, false).reason = "HISTORY_GONE";
  add(EventKind::kSnapshotBegin, false).snapshot = "page0";
  add(EventKind::kSnapshotPage, false).snapshot = "page1";
  add(EventKind::kSnapshotPage, false).snapshot = "page2";
  add(EventKind::kSnapshotEnd, false);
  Event& schema = add(EventKind::kSchemaChanged, true);
  schema.schema_version = "v2";
  schema.previous_schema_version = "v1";
  add(EventKind::kTenantRemoved, true).late = true;
  add(EventKind::kTenantCreated, true);
  return deliveries;
}

}  // namespace

void check_control_events(const Contract& contract) {
  const auto sink = contract.make();
  open_ok(*sink);
  std::vector<Delivery> deliveries = sample_deliveries({"t"}, 3);
  for (Delivery& delivery : all_kinds(deliveries.back())) deliveries.push_back(std::move(delivery));
  // A new history of the database starts again with low xids.
  auto restarted = std::make_shared<Event>(*deliveries[0].event);
  restarted->incarnation = "2-1";
  restarted->xid = 5;
  deliveries.push_back({restarted, 12, ""});
  written_ok(write_all(*sink, deliveries), 12);
  const auto subscriber = contract.subscribe();
  REQUIRE(subscriber->wait_for_all(12, milliseconds(20'000)));
  const auto received = subscriber->received();
  for (const std::string& fault : subscriber->faults()) FAIL_CHECK(fault);
  REQUIRE(received.size() == 12);
  for (size_t i = 0; i < received.size(); ++i) {
    CHECK(received[i].sequence == i + 1);
    CHECK(received[i].type == type_of(deliveries[i].event->kind));
  }
  CHECK(received[3].reason == "HISTORY_GONE");
  CHECK(received[5].snapshot == "page1");
  CHECK(received[6].snapshot == "page2");
  CHECK(received[6].changes.data_changes_size() == 1);
  CHECK(received[8].schema_version == "v2");
  CHECK(received[8].previous_schema_version == "v1");
  CHECK(received[9].late);
  CHECK(received[11].incarnation == "2-1");
}

void check_recover_in_snapshot(const Contract& contract) {
  const std::vector<Delivery> first = sample_deliveries({"t"}, 1);
  const std::vector<Delivery> kinds = all_kinds(first.back());
  {
    const auto sink = contract.make();
    open_ok(*sink);
    written_ok(write_all(*sink, first), 1);
    written_ok(write_all(*sink, std::span(kinds).first(3)), 3);
    // In the middle of the snapshot, and repeated as after a lost acknowledgement.
    written_ok(write_all(*sink, std::span(kinds).first(3)), 3);
  }
  const auto sink = contract.make();
  open_ok(*sink);
  const auto held = sink->recover({{"t", cursor_of(first[0])}}, {});
  REQUIRE_MESSAGE(held.ok(), describe(held.status()));
  REQUIRE(held->count("t") == 1);
  CHECK(held->at("t") == cursor_of(kinds[2]));
  CHECK(held->at("t").snapshot == "page1");
  written_ok(write_all(*sink, std::span(kinds).subspan(3)), kinds.size() - 3);
}

void check_heartbeats(const Contract& contract) {
  const auto sink = contract.make();
  const bool apart = contract.subscribe_heartbeats != nullptr;
  const auto deliveries = sample_deliveries({"t"}, 4);
  open_ok(*sink);
  const auto subscriber = contract.subscribe();
  const auto listener = apart ? contract.subscribe_heartbeats() : contract.subscribe();
  for (const auto& one : {subscriber.get(), listener.get()}) REQUIRE(one->wait_ready(milliseconds(10'000)));
  written_ok(write_all(*sink, std::span(deliveries).first(3)), 3);
  const std::vector<TenantMark> marks = {{"t", 3, "token-1002"}};
  Heartbeat heartbeat{1003, "token-of-position", "1-1", 1'700'000'000'000'000, {}};
  CHECK(describe(sink->heartbeat(heartbeat, {})) == "OK");
  heartbeat.tenants = marks;
  CHECK(describe(sink->heartbeat(heartbeat, {})) == "OK");
  const size_t before = apart ? 0 : 3;
  REQUIRE(listener->wait_for_all(before + contract.heartbeats + 1, milliseconds(20'000)));
  std::vector<Received> beats = listener->received();
  std::erase_if(beats, [](const Received& event) { return !event.is_heartbeat(); });
  REQUIRE(beats.size() == contract.heartbeats + 1);
  CHECK(std::count_if(beats.begin(), beats.end(), [](const Received& b) { return b.tenant.empty(); }) ==
        static_cast<ptrdiff_t>(contract.heartbeats));
  for (const Received& beat : beats) {
    CHECK(beat.token == "token-of-position");
    CHECK(beat.xid == 1003);
    CHECK(beat.sequence == (beat.tenant.empty() ? 0 : 3));
  }
  // They have no number and are no place: what follows goes on behind the last event.
  written_ok(write_all(*sink, std::span(deliveries).subspan(3)), 1);
  if (sink->info().guarantee == Guarantee::kSignal || sink->info().kind == "stdout") return;
  CHECK(describe(sink->heartbeat(heartbeat, {})) == "OK");
  sink->close();
  open_ok(*sink);
  const auto held = sink->recover({{"t", cursor_of(deliveries[2])}}, {});
  REQUIRE_MESSAGE(held.ok(), describe(held.status()));
  REQUIRE(held->count("t") == 1);
  CHECK(held->at("t").sequence == 4);
  CHECK(held->size() == 1);
  for (const std::string& fault : listener->faults()) FAIL_CHECK(fault);
}

void check_oversize(const Contract& contract) {
  const auto sink = contract.make_limited(20'000);
  open_ok(*sink);
  std::vector<Delivery> deliveries = sample_deliveries({"t"}, 3);
  deliveries[1] = delivery_of("t", deliveries[1].event->xid, 2, 30'000);
  const WriteResult refused = write_all(*sink, deliveries);
  CHECK(refused.written == 1);
  CHECK(refused.status.code() == StatusCode::kInvalidArgument);
  CHECK(message_of(refused.status).find("t/1001/0") != std::string::npos);
  // The caller leaves it out and goes on.
  if (sink->open({}).ok()) written_ok(write_all(*sink, std::span(deliveries).subspan(2)), 1);
  const auto subscriber = contract.subscribe();
  REQUIRE(subscriber->wait_for_all(2, milliseconds(20'000)));
  CHECK(subscriber->received()[0].sequence == 1);
  CHECK(subscriber->received().back().sequence == 3);
}

void check_server_killed(const Contract& contract) {
  const auto sink = contract.make();
  const auto deliveries = sample_deliveries(kTenants, 6'000);
  std::atomic<bool> ended = false;
  std::atomic<bool> complete = true;
  std::atomic<int> kills = 0;
  // The server is started from this thread, because it dies with the thread that started it.
  std::jthread writer([&] {
    for (size_t at = 0; at < deliveries.size() && complete; at += 500) {
      // A broker that starts three times on a busy machine takes its time.
      complete = deliver_all(*sink, {&deliveries[at], 500}, milliseconds(180'000));
      // Slow enough that the kills fall into it.
      if (kills < 3) std::this_thread::sleep_for(milliseconds(15));
    }
    ended = true;
  });
  while (kills < 3 && !ended) {
    std::this_thread::sleep_for(milliseconds(40));
    contract.kill();
    ++kills;
    contract.start();
  }
  writer.join();
  REQUIRE(complete);
  CHECK(kills > 0);
  const auto subscriber = contract.subscribe();
  const auto has_all = [&] {
    std::map<std::string, uint64_t> highest;
    for (const Received& event : subscriber->received()) {
      highest[event.tenant] = std::max(highest[event.tenant], event.sequence);
    }
    return highest.size() == 3 &&
           std::all_of(highest.begin(), highest.end(), [](const auto& t) { return t.second == 2'000; });
  };
  CHECK(testing::wait_until(has_all, milliseconds(30'000)));
  check_history(*subscriber, deliveries, is_exact(*sink));
}

void check_fence(const Contract& contract) {
  const auto newer = contract.make();
  const auto older = contract.make();
  const auto deliveries = sample_deliveries({"t"}, 6);
  open_ok(*older);
  written_ok(write_all(*older, {&deliveries[0], 2}, {4}), 2);
  open_ok(*newer);
  REQUIRE(newer->recover({{"t", cursor_of(deliveries[1])}}, {}).ok());
  written_ok(write_all(*newer, {&deliveries[2], 2}, {5}), 2);
  const WriteResult stale = write_all(*older, {&deliveries[4], 2}, {4});
  CHECK(stale.written == 0);
  CHECK(stale.status.code() == StatusCode::kFailedPrecondition);
  written_ok(write_all(*newer, {&deliveries[4], 2}, {5}), 2);
  const auto subscriber = contract.subscribe();
  REQUIRE(subscriber->wait_for_all(6, milliseconds(20'000)));
  check_history(*subscriber, deliveries, true);
}

}  // namespace headgate::sinks
