// One Watch call and the inbox that all calls of a run share. The reactor holds no logic.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/v1/service.grpc.pb.h"
#include "relay/upstream/channel.h"

namespace headgate::relay {

// What happened, by tenant. The reader of the inbox is the only one who acts on it.
struct WatchMessage {
  std::string tenant;
};
struct WatchEnded {
  std::string tenant;
  grpc::Status status;
};
struct TenantsListed {
  StatusOr<std::vector<std::string>> names;
};
// A connection has not answered so many questions in a row; 0: it answers.
struct ChannelProbed {
  size_t channel = 0;
  int unanswered = 0;
};
using WatchNote = std::variant<WatchMessage, WatchEnded, TenantsListed, ChannelProbed>;

// Bounded by its writers: a stream reads its next message only when the last one was taken, and of lists and probes,
// which come whether or not anybody takes them, only the newest is kept.
class WatchInbox {
 public:
  void put(WatchNote note) {
    MutexLock lock(mutex_);
    if (auto* list = std::get_if<TenantsListed>(&note)) {
      listed_ = std::move(*list);
    } else if (const auto* probed = std::get_if<ChannelProbed>(&note)) {
      probed_[probed->channel] = probed->unanswered;
    } else {
      notes_.push_back(std::move(note));
    }
    changed_.notify_one();
  }
  // All that is there, after waiting at most `timeout` for the first. The list comes first: what is told behind it may
  // be younger.
  std::deque<WatchNote> take(Duration timeout, std::stop_token stop) {
    MutexLock lock(mutex_);
    changed_.wait_for(mutex_, stop, timeout, [&]() REQUIRES_LOCK(mutex_) {
      return !notes_.empty() || listed_.has_value() || !probed_.empty();
    });
    std::deque<WatchNote> all = std::exchange(notes_, {});
    for (const auto& [channel, unanswered] : std::exchange(probed_, {})) {
      all.emplace_back(ChannelProbed{channel, unanswered});
    }
    if (listed_.has_value()) all.emplace_front(std::move(*std::exchange(listed_, std::nullopt)));
    return all;
  }

 private:
  Mutex mutex_;
  Condition changed_;
  std::deque<WatchNote> notes_ GUARDED_BY(mutex_);
  std::optional<TenantsListed> listed_ GUARDED_BY(mutex_);
  std::map<size_t, int> probed_ GUARDED_BY(mutex_);
};

// Lives at least until gRPC is done with it; who has got its WatchEnded note needs it no more. Who will not wait for
// that note lets go of it.
class WatchStream : private grpc::ClientReadReactor<base::v1::WatchResponse> {
 public:
  static std::shared_ptr<WatchStream> start(base::v1::Watch::Stub& stub, const ChannelMaker& maker,
                                            const std::string& tenant, const std::string& token,
                                            std::shared_ptr<WatchInbox> inbox) {
    std::shared_ptr<WatchStream> stream(new WatchStream(tenant, std::move(inbox)));
    stream->self_ = stream;
    stream->call(stub, maker, token);
    return stream;
  }

  // After a WatchMessage note, until read_next(), which must follow in any case: the message.
  base::v1::WatchResponse& message() { return response_; }
  void read_next() { StartRead(&response_); }
  // A WatchEnded note will come.
  void cancel() { context_.TryCancel(); }

 private:
  WatchStream(const std::string& tenant, std::shared_ptr<WatchInbox> inbox)
      : tenant_(tenant), inbox_(std::move(inbox)) {}

  void call(base::v1::Watch::Stub& stub, const ChannelMaker& maker, const std::string& token) {
    request_.set_tenant_id(tenant_);
    request_.set_snap_token(token);
    maker.authorize(context_);
    stub.async()->Watch(&context_, &request_, this);
    // Until the last read has failed: the next read may be asked for at any time in between.
    AddHold();
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      inbox_->put(WatchMessage{tenant_});
    } else {
      RemoveHold();
    }
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<WatchStream> self = std::move(self_);
    inbox_->put(WatchEnded{tenant_, status});
  }

  const std::string tenant_;
  const std::shared_ptr<WatchInbox> inbox_;
  std::shared_ptr<WatchStream> self_;  // until OnDone
  grpc::ClientContext context_;
  base::v1::WatchRequest request_;
  base::v1::WatchResponse response_;
};

}  // namespace headgate::relay
