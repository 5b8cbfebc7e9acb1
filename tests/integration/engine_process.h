// The real headgate-engine in a test: its own process on free ports, ended with the test.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>

#include "tests/support/process.h"

namespace headgate::testing {

class EngineProcess {
 public:
  struct Options {
    std::string database_uri;
    std::map<std::string, std::string> env{};  // further HEADGATE_ENGINE_* variables
    bool wait_until_ready = true;              // else only for the process to be there
  };

  // Throws when it does not become ready within 20 seconds; the text holds its log.
  explicit EngineProcess(const Options& options);

  // The ports are known once calls are accepted; reads the port file again.
  bool listening();
  int grpc_port() const { return grpc_port_; }
  int http_port() const { return http_port_; }
  std::shared_ptr<grpc::Channel> channel() const;
  std::string log() const { return read_file(folder_.path() + "/log"); }
  Process& process() { return *process_; }

  struct HttpAnswer {
    int status = 0;  // 0: no answer
    std::string body;
  };
  HttpAnswer get(const std::string& path) const;

 private:
  TempFolder folder_;
  int grpc_port_ = 0;
  int http_port_ = 0;
  std::unique_ptr<Process> process_;
};

}  // namespace headgate::testing
