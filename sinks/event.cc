#include "sinks/event.h"

#include <fmt/format.h>

namespace headgate::sinks {

std::string identity_text(uint64_t xid, int64_t started_at_us) { return fmt::format("{}/{}", xid, started_at_us); }

Cursor cursor_of(const Delivery& delivery) {
  const Event& event = *delivery.event;
  Cursor cursor{event.snap_token, event.xid, event.part, event.more_parts, delivery.sequence, event.incarnation};
  if (is_of_history(event.kind) && event.started_at_us != 0)
    cursor.identity = identity_text(event.xid, event.started_at_us);
  cursor.snapshot = event.snapshot;
  return cursor;
}

}  // namespace headgate::sinks
