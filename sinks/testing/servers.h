// Private servers for the tests of the sinks, in a temporary folder and on a free port. They end with the test program.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace headgate::sinks {

// Keeps its address and its data over kill() and start().
class TestServer {
 public:
  struct Options {
    std::string name;
    std::vector<std::string> argv;
    std::string log_file;
    std::function<bool()> ready;
  };

  TestServer(std::unique_ptr<testing::TempFolder> folder, int port, Options options);
  ~TestServer();

  // Returns when it serves. Throws std::runtime_error with the end of the log when it does not within 60 seconds.
  void start();
  void kill() { process_->kill(); }
  void pause();
  void resume();

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  const std::string& folder() const { return folder_->path(); }

 private:
  std::unique_ptr<testing::TempFolder> folder_;
  const int port_;
  const Options options_;
  std::unique_ptr<testing::Process> process_;
};

// Started; nullptr when the program is not on this machine, and `reason` says so.
std::unique_ptr<TestServer> start_redis(std::string* reason, const std::vector<std::string>& more_arguments = {});
// `config`: the text of a configuration file, beside the usual arguments.
std::unique_ptr<TestServer> start_nats(std::string* reason, const std::string& config = "");
// A broker in KRaft mode. Fetches its jars with Maven into the user's cache at the first use.
std::unique_ptr<TestServer> start_kafka(std::string* reason);
// For `java -cp`; fetches the jars at the first use. Empty, and `reason` says why, without Java or jars.
std::string kafka_class_path(std::string* reason);
// One that also listens for users who may do only what is granted: tests/support/kafka_acls.h.
struct KafkaWithAcls {
  std::unique_ptr<TestServer> server;
  int sasl_port = 0;
  std::string sasl_address() const { return "127.0.0.1:" + std::to_string(sasl_port); }
};
KafkaWithAcls start_kafka_with_acls(std::string* reason);

}  // namespace headgate::sinks
