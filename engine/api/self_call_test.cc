#include "engine/api/self_call.h"

#include <netinet/in.h>

#include "engine/api/server.h"
#include "tests/support/silent_server.h"
#include "tests/support/test_main.h"

namespace headgate::engine {

using headgate::testing::SilentServer;

namespace {

sockaddr_storage at_port(int port) {
  sockaddr_storage address{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(static_cast<uint16_t>(port));
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

TEST_SUITE("engine/api/self_call") {
  TEST_CASE("self-call: a server that listens to all or to one address answers, one that has stopped does not") {
    for (const char* address : {"127.0.0.1", "0.0.0.0", "::", "localhost"}) {
      CAPTURE(address);
      auto server = ApiServer::start({.address = address, .port = 0}, {});
      REQUIRE_MESSAGE(server.ok(), message_of(server.status()));
      const std::shared_ptr<SelfCall> call = (*server)->self_call();
      for (int i = 0; i < 3; ++i) {
        const Status status = call->ask(Duration(5'000));
        CHECK_MESSAGE(status.ok(), message_of(status));
      }
      // It counts to nobody.
      CHECK((*server)->connections().accepted == 0);
      (*server)->stop(Duration(0));
      CHECK(call->ask(Duration(1'000)).code() == StatusCode::kUnavailable);
    }
  }

  TEST_CASE("self-call: a port that takes connections and says nothing is deaf, once patience is over") {
    const SilentServer silent;
    SelfCall call(at_port(silent.port()));
    const Status status = call.ask(Duration(50));
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK(message_of(status) == "the gRPC port does not answer");
    CHECK_FALSE(call.ask_patiently(Duration(50), Duration(10'000)).ok());
  }

  TEST_CASE("self-call: one failure after an answer is borne for a while") {
    auto server = ApiServer::start({.address = "127.0.0.1", .port = 0}, {});
    REQUIRE(server.ok());
    const std::shared_ptr<SelfCall> call = (*server)->self_call();
    REQUIRE(call->ask(Duration(5'000)).ok());
    (*server)->stop(Duration(0));
    CHECK(call->ask_patiently(Duration(50), Duration(60'000)).ok());
    CHECK_FALSE(call->ask_patiently(Duration(50), Duration(0)).ok());
  }
}

}  // namespace headgate::engine
