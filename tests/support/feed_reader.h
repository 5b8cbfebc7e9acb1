// One stream of headgate.v1.Feed and the thread that reads it. Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "headgate/v1/feed.pb.h"
#include "tests/support/engine_client.h"

namespace headgate::testing {

class FeedReader {
 public:
  // Asks for heartbeats every 100 ms when the request names no interval.
  FeedReader(EngineClient& client, headgate::v1::SubscribeRequest request);
  // Cancels.
  ~FeedReader();
  FeedReader(const FeedReader&) = delete;
  FeedReader& operator=(const FeedReader&) = delete;

  bool wait_open(std::chrono::milliseconds timeout) const;
  // Whole transactions and life events of the tenant.
  bool wait_for(const std::string& tenant, size_t count, std::chrono::milliseconds timeout) const;
  bool wait_position(uint64_t position, std::chrono::milliseconds timeout) const;
  bool wait_end(std::chrono::milliseconds timeout) const;
  std::vector<headgate::v1::Transaction> of(const std::string& tenant) const;
  // The kinds of what came of the tenant: "created schema write late-removed".
  std::string text(const std::string& tenant) const;
  std::vector<headgate::v1::TenantEvent> notices() const;
  // Everything in front of it has come.
  std::string position_token() const;
  // Of an ended stream.
  grpc::Status status() const;

 private:
  void run();
  void take(const headgate::v1::FeedMessage& message);
  bool wait(std::chrono::milliseconds timeout, const std::function<bool()>& done) const;

  EngineClient& client_;
  headgate::v1::SubscribeRequest request_;
  grpc::ClientContext context_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<headgate::v1::Transaction> transactions_;
  std::vector<headgate::v1::TenantEvent> notices_;
  uint64_t position_ = 0;
  std::string token_;
  bool open_ = false;
  bool ended_ = false;
  grpc::Status status_;
  std::jthread thread_;
};

}  // namespace headgate::testing
