// What a sink receives. Events are immutable and shared by all sinks; what differs per sink travels in Delivery.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/mutex.h"

namespace headgate::sinks {

enum class EventKind {
  kChanges,
  kHeartbeat,      // a position, nothing else; not numbered
  kGap,            // history between the event before and this one is lost to the subscriber; `reason` says why
  kSnapshotBegin,  // the tenant's state at one position follows in pages; what was known of it is void
  kSnapshotPage,   // a part of it, as changes that create
  kSnapshotEnd,    // complete; what follows continues from that position
  kTenantCreated,
  kTenantRemoved,  // everything of the tenant is gone
  kSchemaChanged,
};

// True for what the source recorded as a transaction of its own: changes and the events of a tenant's life.
inline bool is_of_history(EventKind kind) {
  return kind == EventKind::kChanges || kind == EventKind::kTenantCreated || kind == EventKind::kTenantRemoved ||
         kind == EventKind::kSchemaChanged;
}
// True for events that carry base.v1.DataChanges.
inline bool has_changes(EventKind kind) { return kind == EventKind::kChanges || kind == EventKind::kSnapshotPage; }

// Texts derived from an event, made at most once however many sinks ask. Thread-safe. A copied event starts without.
class DerivedTexts {
 public:
  enum Slot { kJson, kEntities, kSlotCount };

  DerivedTexts() = default;
  DerivedTexts(const DerivedTexts&) {}
  DerivedTexts& operator=(const DerivedTexts&) { return *this; }

  // `make` returns StatusOr<std::string>-like; a failure is not kept. The text lives as long as the event.
  template <typename Make>
  auto get(Slot slot, Make make) const -> std::pair<const std::string*, decltype(make().status())> {
    MutexLock lock(mutex_);
    std::unique_ptr<const std::string>& text = texts_[slot];
    if (text == nullptr) {
      auto made = make();
      if (!made.ok()) return {nullptr, made.status()};
      text = std::make_unique<const std::string>(*std::move(made));
    }
    return {text.get(), {}};
  }

 private:
  mutable Mutex mutex_;
  mutable std::array<std::unique_ptr<const std::string>, kSlotCount> texts_ GUARDED_BY(mutex_);
};

struct Event {
  EventKind kind = EventKind::kChanges;
  std::string tenant;
  uint64_t xid = 0;         // of the transaction; the id of the event is "<tenant>/<xid>/<part>"
  uint32_t part = 0;        // very large transactions arrive in several parts
  bool more_parts = false;  // the token of such a part still names the state before the transaction
  std::string snap_token;
  std::string incarnation;    // of the source's history; xids of two incarnations never compare
  int64_t started_at_us = 0;  // of the transaction, clock of the source; 0 when the source does not tell
  std::string payload;        // serialized base.v1.DataChanges; of changes and pages of a snapshot alone
  std::string reason;         // of a GAP
  // A GAP in place of something that the source has at this xid and part, and cannot tell. Others stand between events.
  bool in_place = false;
  std::string snapshot;        // of kSnapshotBegin and pages: opaque, where the snapshot goes on behind this event
  std::string schema_version;  // of kSchemaChanged: the new one
  std::string previous_schema_version;  // ... and the one before; empty for the first
  bool late = false;  // a life event that was found by comparison; it happened earlier than its place in the order
  DerivedTexts derived = {};  // filled by sinks/encoding

  // For queues bounded by bytes.
  size_t bytes() const {
    return sizeof(Event) + tenant.size() + snap_token.size() + incarnation.size() + payload.size() + reason.size() +
           snapshot.size() + schema_version.size() + previous_schema_version.size();
  }
};
using EventPtr = std::shared_ptr<const Event>;

// One event on its way to one sink.
struct Delivery {
  EventPtr event;
  uint64_t sequence = 0;       // dense per (tenant, sink), from 1; the same on every retry of the event
  std::string previous_token;  // token of the event before it in this tenant and sink; empty for the first
};

// The place of a sink in one tenant: the last event that it has durably acknowledged.
struct Cursor {
  std::string snap_token;
  uint64_t xid = 0;
  uint32_t part = 0;
  bool more_parts = false;
  uint64_t sequence = 0;
  std::string incarnation;
  // Tells the last transaction apart from one of a replaced history that got the same xid: "<xid>/<started_at_us>", of
  // a stream's progress "<xid>/<started_at_us>/<tenant>". Empty: not known, so not compared.
  std::string identity;
  std::string snapshot;  // in the middle of a snapshot: Event::snapshot of the last page; else empty

  bool operator==(const Cursor&) const = default;
};
// The text of Cursor::identity.
std::string identity_text(uint64_t xid, int64_t started_at_us);
Cursor cursor_of(const Delivery& delivery);

// Who may write now. The epoch rises at every change of owner; a sink that can, refuses a lower one.
struct Fence {
  uint64_t epoch = 0;
};

}  // namespace headgate::sinks
