#include "sinks/event.h"

namespace headgate::sinks {

Cursor cursor_of(const Delivery& delivery) {
  const Event& event = *delivery.event;
  return {event.snap_token, event.xid, event.part, event.more_parts, delivery.sequence, event.incarnation};
}

}  // namespace headgate::sinks
