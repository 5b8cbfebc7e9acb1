// What every sink must do, checked against its real server with a real subscriber. One program per kind calls these.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "sinks/sink.h"
#include "tests/support/subscribers.h"

namespace headgate::sinks {

// One place to publish to, used by one test case alone (own topic, prefix or file).
struct Contract {
  std::function<std::unique_ptr<Sink>()> make;
  // The same place, but events above so many bytes are refused.
  std::function<std::unique_ptr<Sink>(size_t event_bytes_max)> make_limited;
  // A sink whose server is not there.
  std::function<std::unique_ptr<Sink>()> make_absent;
  std::function<std::unique_ptr<testing::Subscriber>()> subscribe;
  // Where heartbeats go, when that is another place.
  std::function<std::unique_ptr<testing::Subscriber>()> subscribe_heartbeats = {};
  size_t heartbeats = 1;  // that one for all tenants becomes
  // The server; empty for sinks without one.
  std::function<void()> kill;
  std::function<void()> start;
  std::function<void()> pause;
  std::function<void()> resume;
};

// `count` deliveries round robin over `tenants`, with dense sequences and payloads of about `payload_bytes`.
std::vector<Delivery> sample_deliveries(const std::vector<std::string>& tenants, size_t count,
                                        size_t payload_bytes = 120);

// Does what a worker does: open, recover, skip what is held, write, and all over again after a failure.
// False when not everything was written within `timeout`.
bool deliver_all(Sink& sink, std::span<const Delivery> deliveries, std::chrono::milliseconds timeout);

// For all sinks.
void check_order_per_tenant(const Contract& contract);
void check_close(const Contract& contract);
void check_absent_server(const Contract& contract);
void check_heartbeats(const Contract& contract);
void check_stop_token(const Contract& contract);

// For durable sinks.
void check_repeated_batch(const Contract& contract);
void check_recover(const Contract& contract);
void check_control_events(const Contract& contract);
void check_recover_in_snapshot(const Contract& contract);
void check_oversize(const Contract& contract);
void check_server_killed(const Contract& contract);
// For sinks that refuse stale owners.
void check_fence(const Contract& contract);

}  // namespace headgate::sinks
