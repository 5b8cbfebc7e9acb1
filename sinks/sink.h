// A place that events are published to. Batching, retry, back-off and commit of cursors belong to relay/delivery.
//
// One thread calls a sink; it is the sink's own worker. Implementations may have threads of their libraries, whose
// callbacks only signal. Every wait obeys the stop token and the sink's own time-outs: no call blocks for ever.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "sinks/event.h"
#include "sinks/heartbeat.h"

namespace headgate::sinks {

// What a sink promises once write() returned.
enum class Guarantee {
  kExactlyOnce,  // position and events change together, or repeats are refused by position
  kAtLeastOnce,  // durable; after a crash the unacknowledged tail may come twice
  kSignal,       // fire and forget; subscribers detect gaps by sequence
};

struct SinkInfo {
  std::string name;  // from the configuration, unique in one relay; part of the cursor's key
  std::string kind;  // "kafka", "redis_streams", "redis_pubsub", "nats_jetstream", "nats_core", "stdout", "file"
  Guarantee guarantee = Guarantee::kAtLeastOnce;
  // recover() tells of every tenant that the sink was ever sent an event of. Without that a number given before the
  // token store was lost might be given again, so numbers begin with the time instead of 1.
  bool keeps_place = true;
};

struct Batch {
  std::span<const Delivery> deliveries;  // order is kept per tenant
  Fence fence;
};

// `written`: how many leading deliveries are durable. With an error the rest may or may not be there: the caller calls
// write() again with the rest, and the sink must cope with what it already has.
// FAILED_PRECONDITION: fenced by a newer owner. INVALID_ARGUMENT: the first delivery that is not written can never be
// accepted, as one that is too large. Any other code: try again; base/refusals.h tells what kind of refusal it is.
struct WriteResult {
  size_t written = 0;
  Status status;
};

class Sink {
 public:
  virtual ~Sink() = default;
  virtual const SinkInfo& info() const = 0;
  // The largest event that the sink takes as it is now, payload and attributes together, encoded; learned by open().
  // 0: no limit, or none that it can tell.
  virtual size_t max_event_bytes() const { return 0; }
  // Connects. Called again after a failure; must leave no half-open state behind.
  virtual Status open(std::stop_token stop) = 0;
  // The last delivery of each tenant that the sink itself holds, as far as it can tell; asked once after open() and
  // before the first write(), with the cursors that the token store knows. Tenants of which it cannot tell are left
  // out; one of which it knows that all is gone gets an empty cursor (sequence 0). The worker then skips what the sink
  // already has, and sends again what it has lost.
  virtual StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                          std::stop_token stop) = 0;
  virtual WriteResult write(const Batch& batch, std::stop_token stop) = 0;
  // Publishes a heartbeat behind everything that was written. Called between writes, only while nothing below its
  // position waits. A failure is that of the connection, with the codes of write(); the heartbeat is not sent again.
  virtual Status heartbeat(const Heartbeat&, std::stop_token) { return ok_status(); }
  // May be called twice, and without open(). Never blocks longer than a second.
  virtual void close() = 0;
};

}  // namespace headgate::sinks
