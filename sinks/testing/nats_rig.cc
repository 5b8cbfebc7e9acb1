#include "sinks/testing/nats_rig.h"

namespace headgate::sinks {

TestServer* nats(std::string* reason) {
  static std::string why;
  static const std::unique_ptr<TestServer> server = start_nats(&why);
  *reason = why;
  return server.get();
}

std::string fresh_nats_prefix() {
  static int number = 0;
  return fmt::format("case{}", ++number);
}

void steer(Contract& contract, TestServer& server) {
  TestServer* s = &server;
  contract.kill = [=] { s->kill(); };
  contract.start = [=] { s->start(); };
  contract.pause = [=] { s->pause(); };
  contract.resume = [=] { s->resume(); };
}

std::unique_ptr<Sink> make_core(int port, const std::string& prefix, bool structured) {
  NatsCoreSettings settings;
  settings.connection.url = fmt::format("nats://127.0.0.1:{}", port);
  settings.prefix = prefix;
  settings.structured = structured;
  auto sink = make_nats_core_sink("nats", {}, settings);
  REQUIRE(sink.ok());
  return *std::move(sink);
}

}  // namespace headgate::sinks
