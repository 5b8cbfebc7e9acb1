// The limits that the sinks are compared with: a bare client of the same library writes the same bytes to the same
// server, with everything that headgate adds left out. Each blocks until the server has confirmed the last event, and
// returns events a second; they throw std::runtime_error when something is refused.
#pragma once

#include <string>

#include "tests/bench/bench_events.h"

namespace headgate::bench {

// `count` events are sent; `events` are repeated in turn. All keys, streams, subjects and topics begin with `prefix`.
struct BareRun {
  std::string address;  // "host:port"; a path for files
  std::string prefix;
  const std::vector<WireEvent>& events;
  size_t count = 0;
};

// librdkafka's idempotent producer with the options of the sink.
double bare_kafka(const BareRun& run);
// Its transactional producer, 4,096 events a transaction.
double bare_kafka_transactions(const BareRun& run);
// js_PublishMsgAsync with a message id, 4,000 pending.
double bare_jetstream(const BareRun& run);
// natsConnection_PublishMsg, and one flush.
double bare_nats_core(const BareRun& run);
// XADD of the same fields in a pipeline of 512.
double bare_redis_xadd(const BareRun& run);
// The same inside a script of 64 entries that also sets a position, 8 of them in a pipeline.
double bare_redis_script(const BareRun& run);
// PUBLISH of the structured line in a pipeline of 512.
double bare_redis_publish(const BareRun& run);
// Keeps the server from writing its append-only file anew, which would come at another moment of every run.
void leave_append_only_file(const std::string& address);
// write() of a mebibyte at a time, one fdatasync at the end.
double bare_file(const BareRun& run);

}  // namespace headgate::bench
