// The engine as its clients see it: short calls for tests, and readers of its two kinds of streams.
//
// Thread-safe; every call has a deadline. Failures come back as grpc::Status, so that tests can look at the code.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/v1/service.pb.h"

namespace headgate::testing {

// The snap token in front of a tenant's first transaction.
inline const std::string kBeginning = "AAAAAAAAAAA=";

// "doc:1#owner@user:alice", "doc:1#viewer@group:eng#member".
base::v1::Tuple tuple_of(const std::string& text);
std::string text_of(const base::v1::Tuple& tuple);
base::v1::Attribute make_boolean(const std::string& type, const std::string& id, const std::string& name, bool value);
base::v1::Attribute make_integer(const std::string& type, const std::string& id, const std::string& name, int value);
// "+doc:1#owner@user:alice", "-doc:1$public=true": one text for each change, whatever the wire form of the value.
std::string text_of(const base::v1::DataChange& change);
std::vector<std::string> texts_of(const base::v1::DataChanges& changes);
// The reason of the google.rpc.ErrorInfo in the status' details; empty without one.
std::string error_reason(const grpc::Status& status);
// The wait of its google.rpc.RetryInfo; nothing without one.
std::optional<std::chrono::milliseconds> retry_hint(const grpc::Status& status);

struct WriteAnswer {
  grpc::Status status;
  std::string token;
};

// For calls that are not here: engine_stubs.h.
struct EngineStubs;

class EngineClient {
 public:
  explicit EngineClient(const std::string& address);
  ~EngineClient();
  EngineClient(const EngineClient&) = delete;
  EngineClient& operator=(const EngineClient&) = delete;

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Throws std::runtime_error when the tenant or the schema is refused.
  void create_tenant(const std::string& id, const std::string& schema);
  WriteAnswer write(const std::string& tenant, const std::vector<base::v1::Tuple>& tuples,
                    const std::vector<base::v1::Attribute>& attributes = {});
  // The tuples of one entity.
  WriteAnswer remove(const std::string& tenant, const std::string& type, const std::string& id);
  // All tuples the state at `token` (empty: head) holds, as sorted texts.
  std::vector<std::string> tuples_at(const std::string& tenant, const std::string& token);

  EngineStubs& stubs() { return *stubs_; }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<EngineStubs> stubs_;
};

void set_deadline(grpc::ClientContext& context, std::chrono::milliseconds timeout = std::chrono::seconds(20));

// One Watch stream and the thread that reads it.
class WatchReader {
 public:
  WatchReader(EngineClient& client, std::string tenant, std::string token);
  // Cancels.
  ~WatchReader();
  WatchReader(const WatchReader&) = delete;
  WatchReader& operator=(const WatchReader&) = delete;

  const std::string& tenant() const { return tenant_; }
  const std::string& start_token() const { return token_; }
  std::vector<base::v1::DataChanges> messages() const;
  size_t count() const;
  bool wait_for(size_t count, std::chrono::milliseconds timeout) const;
  // True when the server has taken the stream's start: what is written from now on arrives.
  bool wait_open(std::chrono::milliseconds timeout) const;
  // True when the server ended the stream within `timeout`.
  bool wait_end(std::chrono::milliseconds timeout) const;
  // Of an ended stream.
  grpc::Status status() const;
  std::chrono::steady_clock::time_point ended_at() const;

 private:
  void run();

  EngineClient& client_;
  const std::string tenant_;
  const std::string token_;
  grpc::ClientContext context_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<base::v1::DataChanges> messages_;
  bool open_ = false;
  bool ended_ = false;
  grpc::Status status_;
  std::chrono::steady_clock::time_point ended_at_{};
  std::jthread thread_;
};

}  // namespace headgate::testing
