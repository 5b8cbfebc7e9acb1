#include "relay/upstream/connection_watch.h"

#include <pthread.h>

#include "base/clock.h"

namespace headgate::relay {

namespace {

constexpr Duration kTurn{50};
constexpr Duration kAllReady{200};

}  // namespace

ConnectionWatch::ConnectionWatch(std::vector<std::shared_ptr<grpc::Channel>> channels)
    : channels_(std::move(channels)) {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), "connections");
}

void ConnectionWatch::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    bool waited = false;
    for (const auto& channel : channels_) {
      // Does not connect by itself: that is for calls to ask.
      const grpc_connectivity_state state = channel->GetState(false);
      if (state == GRPC_CHANNEL_READY || state == GRPC_CHANNEL_IDLE) continue;
      channel->WaitForStateChange(state, std::chrono::system_clock::now() + kTurn);
      waited = true;
    }
    if (!waited) system_clock().sleep(kAllReady, stop);
  }
}

}  // namespace headgate::relay
