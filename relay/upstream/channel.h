// What both kinds of upstream share: channels, credentials, the translation of gRPC's errors, the list of tenants.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "relay/upstream/settings.h"

namespace headgate::relay {

// Copies share the key. Thread-safe.
class ChannelMaker {
 public:
  static StatusOr<ChannelMaker> create(const UpstreamSettings& settings);

  // A connection of its own each time.
  std::shared_ptr<grpc::Channel> make(Duration keepalive) const;
  // Adds the key.
  void authorize(grpc::ClientContext& context) const;
  // Of contexts that are authorized from now on, through any copy.
  void set_key(const std::string& key) const;

 private:
  struct Key {
    mutable Mutex mutex;
    std::string text GUARDED_BY(mutex);
  };

  std::string address_;
  std::shared_ptr<Key> key_ = std::make_shared<Key>();
  std::string server_name_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
};

// The same code; RetryInfo becomes a retry delay (retry_delay.h).
Status to_status(const grpc::Status& status);
// ErrorInfo.reason of the details; empty without one.
std::string reason_of(const grpc::Status& status);

// All pages of Tenancy.List.
StatusOr<std::vector<std::string>> list_tenants(const std::shared_ptr<grpc::Channel>& channel,
                                                const ChannelMaker& maker, Duration timeout);
// OK for any answer at all, also a refusal; DEADLINE_EXCEEDED or UNAVAILABLE without one.
Status ask_for_life(const std::shared_ptr<grpc::Channel>& channel, const ChannelMaker& maker, Duration timeout);

}  // namespace headgate::relay
