#include "tests/integration/engine_process.h"

#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <cstdio>
#include <stdexcept>

#include "tests/support/test_main.h"

namespace headgate::testing {

EngineProcess::EngineProcess(const Options& options) : folder_("headgate-engine") {
  Process::Options start;
  start.argv = {HEADGATE_ENGINE_BINARY, "--port-file", folder_.path() + "/ports"};
  start.log_file = folder_.path() + "/log";
  start.env = {{"HEADGATE_ENGINE_DATABASE_URI", options.database_uri},
               {"HEADGATE_ENGINE_SERVER_ADDRESS", "127.0.0.1"},
               {"HEADGATE_ENGINE_SERVER_PORT", "0"},
               {"HEADGATE_ENGINE_ADMIN_ADDRESS", "127.0.0.1"},
               {"HEADGATE_ENGINE_ADMIN_PORT", "0"}};
  for (const auto& [name, value] : options.env) start.env[name] = value;
  process_ = std::make_unique<Process>(start);
  const auto there = [&] {
    const bool accepts_calls = listening();
    return options.wait_until_ready ? accepts_calls && get("/readyz").status == 200 : http_port_ != 0;
  };
  const bool ready = wait_until([&] { return !process_->running() || there(); }, std::chrono::seconds(20));
  if (!ready || !process_->running()) throw std::runtime_error("headgate-engine did not become ready:\n" + log());
}

bool EngineProcess::listening() {
  const std::string text = read_file(folder_.path() + "/ports");
  return std::sscanf(text.c_str(), "grpc=%d\nhttp=%d", &grpc_port_, &http_port_) == 2 && grpc_port_ != 0;
}

std::shared_ptr<grpc::Channel> EngineProcess::channel() const {
  grpc::ChannelArguments arguments;
  // A channel of its own, not one shared with other tests of the program.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(grpc_port_), grpc::InsecureChannelCredentials(),
                                   arguments);
}

EngineProcess::HttpAnswer EngineProcess::get(const std::string& path) const {
  httplib::Client client("127.0.0.1", http_port_);
  client.set_connection_timeout(1);
  client.set_read_timeout(3);
  const auto answer = client.Get(path.c_str());
  if (!answer) return {};
  return {answer->status, answer->body};
}

}  // namespace headgate::testing
