// An upstream that runs against a fake engine, and a listener that remembers what it is told.
#pragma once

#include "relay/upstream/fake_engine.h"
#include "relay/upstream/settings.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

using headgate::testing::wait_until;
using testing::FakeEngine;
using Texts = std::vector<std::string>;

struct Recorder : UpstreamListener {
  mutable Mutex mutex;
  Texts events;
  std::vector<EventPtr> raw;
  Texts failures;
  Texts removed;
  std::string opened;
  int opens = 0;
  bool ordered = false;
  uint64_t position = 0;
  std::shared_ptr<const std::vector<Identity>> recent;
  std::string progress_token;
  std::atomic<bool> hold{false};

  void on_opened(const std::string& incarnation, bool is_ordered) override {
    MutexLock lock(mutex);
    opened = incarnation;
    ordered = is_ordered;
    ++opens;
  }
  bool on_events(std::vector<EventPtr> batch) override {
    while (hold) std::this_thread::yield();
    MutexLock lock(mutex);
    for (const EventPtr& event : batch) {
      events.push_back(fmt::format("{}/{}/{}", event->tenant, event->xid, event->part));
      raw.push_back(event);
    }
    return true;
  }
  void on_progress(const Progress& mark) override {
    MutexLock lock(mutex);
    position = mark.position;
    recent = mark.recent;
    progress_token = mark.snap_token;
  }
  void on_tenant_failed(const TenantFailure& failure) override {
    MutexLock lock(mutex);
    failures.push_back(failure.tenant + " " + failure.reason);
  }
  void on_tenant_starts_later(const TenantFailure& failure) override {
    MutexLock lock(mutex);
    failures.push_back(fmt::format("{} later {} {}", failure.tenant, failure.reason, failure.head_token));
  }
  void on_tenant_removed(const std::string& tenant) override {
    MutexLock lock(mutex);
    removed.push_back(tenant);
  }
  template <typename T>
  T get(T Recorder::*member) const {
    MutexLock lock(mutex);
    return this->*member;
  }
  size_t count() const { return get(&Recorder::events).size(); }
};

// One run of an upstream against the fake engine, on a thread of its own.
struct Rig {
  FakeEngine engine;
  UpstreamSettings settings;
  TokenBucket budget{1000, 1000, system_clock()};
  Recorder seen;
  UpstreamRequest request;
  std::string address;  // empty: the engine's own
  std::unique_ptr<Upstream> upstream;
  std::atomic<bool> ended{false};
  Status result;
  std::jthread thread;

  explicit Rig(UpstreamKind kind, FakeEngine::Options options = {}) : engine(options) {
    settings.kind = kind;
    settings.heartbeat_interval = Duration(50);
    settings.call_timeout = Duration(2000);
    settings.tenant_poll = Duration(20);
    settings.stream_backoff = {Duration(5), Duration(50)};
    settings.key = options.key;
  }
  void start() {
    settings.address = address.empty() ? engine.address() : address;
    upstream = make_upstream(settings, budget, system_clock()).value();
    run();
  }
  void run() {
    ended = false;
    thread = std::jthread([this](std::stop_token stop) {
      result = upstream->run(request, seen, stop);
      ended = true;
    });
  }
  Status finish() {
    REQUIRE(wait_until([&] { return ended.load(); }));
    return result;
  }
  Status stop() {
    thread.request_stop();
    return finish();
  }
  bool sees(size_t events) {
    return wait_until([&] { return seen.count() >= events; });
  }
  bool stands(int streams) {
    return wait_until([&] { return engine.standing() == streams; });
  }
  bool opens() {
    return wait_until([&] { return seen.get(&Recorder::opens) == 1; });
  }
};

// Tenant "a" is watched, and its event of xid 100 has arrived.
struct WatchRig : Rig {
  WatchRig() : Rig(UpstreamKind::kWatch) {
    engine.add_tenant("a");
    start();
    REQUIRE(stands(1));
    engine.write("a", 100);
    REQUIRE(sees(1));
  }
};

}  // namespace headgate::relay
