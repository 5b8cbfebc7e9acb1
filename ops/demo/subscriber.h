// Ordinary subscribers, one for each kind of sink, written against the public libraries alone: they show what a reader
// of a topic, stream, subject, channel or file has to do.
//
// Each runs one thread from its construction to its destruction, reconnects by itself, and hands every event to its
// inbox. What is read: streams, topics and files from their beginning, signals from the moment of subscribing.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "ops/demo/ledger.h"

namespace headgate::demo {

// One CloudEvent, whatever carried it. Names as in the specification, without the carrier's prefix.
struct Envelope {
  std::map<std::string, std::string> attributes;
  std::string data;
};

// Thread-safe.
class Inbox {
 public:
  Inbox(std::string sink, Ledger& ledger) : sink_(std::move(sink)), ledger_(ledger) {}
  void take(const Envelope& envelope);
  // Structured mode: one JSON object.
  void take_structured(const std::string& json);
  void subscribed() { subscribed_ = true; }
  bool is_subscribed() const { return subscribed_; }
  const std::string& sink() const { return sink_; }
  // Marks of lost history; there must be none.
  size_t gaps() const { return gaps_; }

 private:
  const std::string sink_;
  Ledger& ledger_;
  std::atomic<bool> subscribed_ = false;
  std::atomic<size_t> gaps_ = 0;
};

// A thread that lives as long as the object.
using Subscriber = std::jthread;

// Every topic that begins with `prefix`.
Subscriber subscribe_kafka(const std::string& brokers, const std::string& prefix, Inbox& inbox);
// The streams with these keys.
Subscriber subscribe_redis_streams(const std::string& address, const std::vector<std::string>& keys, Inbox& inbox);
// The channels that match the pattern.
Subscriber subscribe_redis_channels(const std::string& address, const std::string& pattern, Inbox& inbox);
Subscriber subscribe_nats_stream(const std::string& address, const std::string& subject, Inbox& inbox);
Subscriber subscribe_nats_subject(const std::string& address, const std::string& subject, Inbox& inbox);
// Follows a file of one JSON object a line.
Subscriber subscribe_file(const std::string& path, Inbox& inbox);

}  // namespace headgate::demo
