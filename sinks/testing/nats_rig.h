// A nats-server for the cases of one program, and sinks on it.
#pragma once

#include "sinks/nats/nats_sinks.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/servers.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {

// Null, and why, when there is none on this machine.
TestServer* nats(std::string* reason);
std::string fresh_nats_prefix();
void steer(Contract& contract, TestServer& server);
std::unique_ptr<Sink> make_core(int port, const std::string& prefix, bool structured);

}  // namespace headgate::sinks

#define HG_NATS(name)                      \
  std::string reason;                      \
  TestServer* const found = nats(&reason); \
  if (found == nullptr) HG_SKIP(reason);   \
  TestServer& name = *found
