// The reading side of every sink: what a real subscriber gets, decoded back from CloudEvents.
//
// Each subscriber has one thread that reads from the beginning of its sink (kafka, redis streams, nats jetstream, file)
// or from its own start on (redis pub/sub, nats core), and goes on through restarts of the server: it connects again
// and continues behind what it has. Nothing is dropped or put in order; the list is as it came. All calls are
// thread-safe. Independent of doctest, so that programs other than tests can link it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/v1/base.pb.h"

namespace headgate::testing {

// One event as a subscriber sees it.
struct Received {
  std::string id;    // "<tenant>/<xid>/<part>"
  std::string type;  // "dev.headgate.permission.changed.v1" and so on
  std::string tenant;
  uint64_t xid = 0;
  uint32_t part = 0;
  bool more_parts = false;
  uint64_t sequence = 0;
  std::string token;
  std::string previous_token;
  std::string incarnation;
  std::string reason;
  std::string snapshot;  // continuation, of the beginning and the pages of a snapshot
  std::string schema_version;
  std::string previous_schema_version;
  bool late = false;
  int64_t started_at_us = 0;   // of the transaction by the database's clock; 0 without a time
  int64_t received_at_us = 0;  // by our clock
  base::v1::DataChanges changes;

  bool is_changes() const { return type == "dev.headgate.permission.changed.v1"; }
  bool has_changes() const { return is_changes() || type == "dev.headgate.feed.snapshot-page.v1"; }
  bool is_gap() const { return type == "dev.headgate.feed.gap.v1"; }
  // Of a tenant's life, in its place in the order.
  bool is_life() const { return type.starts_with("dev.headgate.tenant.") || type == "dev.headgate.schema.changed.v1"; }
  bool is_heartbeat() const { return type == "dev.headgate.feed.heartbeat.v1"; }
};

// Looks an attribute up by its name in the specification ("id", "snaptoken", "datacontenttype").
using AttributeSource = std::function<std::optional<std::string>(const std::string& name)>;

// Binary mode: attributes and data apart. Empty, and `error` says why, when it is no event of Headgate.
std::optional<Received> decode_binary(const AttributeSource& get, std::string_view data, std::string* error);
// Structured mode: one JSON object.
std::optional<Received> decode_structured(std::string_view json, std::string* error);

class Subscriber {
 public:
  virtual ~Subscriber() = default;

  // The kind of the sink: "kafka", "redis_streams", "redis_pubsub", "nats_jetstream", "nats_core", "file".
  virtual const std::string& kind() const = 0;
  // All that came so far.
  virtual std::vector<Received> received() const = 0;
  // How many of them carry changes; the events of tenants' lives and other control events come beside.
  virtual size_t count() const = 0;
  // What came and could not be decoded; a test demands that it is empty.
  virtual std::vector<std::string> faults() const = 0;
  // True as soon as `count` events with changes are there.
  virtual bool wait_for(size_t count, std::chrono::milliseconds timeout) const = 0;
  // True as soon as `count` events of any kind are there.
  virtual bool wait_for_all(size_t count, std::chrono::milliseconds timeout) const = 0;
  // True when the subscription stands (signal sinks: from now on nothing is missed).
  virtual bool wait_ready(std::chrono::milliseconds timeout) const = 0;
  // Called for every event on the reading thread, before it is counted. Set it before events flow.
  virtual void on_event(std::function<void(const Received&)> callback) = 0;
};

// brokers "host:port", one topic with any number of partitions, read_committed. The topic may appear later.
std::unique_ptr<Subscriber> subscribe_kafka(const std::string& brokers, const std::string& topic);
// All streams whose key matches the glob `keys`; new ones are found while it runs. address "host:port".
std::unique_ptr<Subscriber> subscribe_redis_streams(const std::string& address, const std::string& keys);
std::unique_ptr<Subscriber> subscribe_redis_pubsub(const std::string& address, const std::string& channels);
// From the first message of the stream, which may appear later; `subject` covers what is wanted. address "host:port".
std::unique_ptr<Subscriber> subscribe_jetstream(const std::string& address, const std::string& stream,
                                                const std::string& subject);
std::unique_ptr<Subscriber> subscribe_nats_core(const std::string& address, const std::string& subject);
// JSON lines; the file may appear later.
std::unique_ptr<Subscriber> subscribe_file(const std::string& path);

}  // namespace headgate::testing
