// Keeps connections in the making alive. gRPC moves a connection on only while somebody polls it, and a call on a
// channel whose last attempt failed ends at once: without this, whoever has to wait for the network (TLS, a server on
// another machine) never gets through a second attempt.
//
// One thread, which waits for changes of channels that are not ready. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>
#include <vector>

namespace headgate::relay {

class ConnectionWatch {
 public:
  explicit ConnectionWatch(std::vector<std::shared_ptr<grpc::Channel>> channels);

 private:
  void run(std::stop_token stop);

  const std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::jthread thread_;
};

}  // namespace headgate::relay
