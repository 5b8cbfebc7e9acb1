#include <thread>

#include "sinks/nats/connection.h"
#include "sinks/testing/nats_rig.h"

namespace headgate::sinks {
namespace {

Contract core_contract(TestServer& server, bool structured) {
  const std::string prefix = fresh_nats_prefix();
  const std::string address = server.address();
  const int port = server.port();
  Contract contract;
  contract.make = [=] { return make_core(port, prefix, structured); };
  contract.make_absent = [=] { return make_core(testing::free_port(), prefix, structured); };
  contract.subscribe = [=] { return testing::subscribe_nats_core(address, prefix + ".>"); };
  contract.subscribe_heartbeats = [=] { return testing::subscribe_nats_core(address, prefix + ".heartbeat.>"); };
  steer(contract, server);
  return contract;
}

}  // namespace

TEST_SUITE("nats/core_sink") {
  TEST_CASE("core: keeps the order per tenant") {
    HG_NATS(server);
    check_order_per_tenant(core_contract(server, false));
  }
  TEST_CASE("core: structured mode puts one JSON object into the body") {
    HG_NATS(server);
    const std::string prefix = fresh_nats_prefix();
    NatsConnectionSettings settings;
    settings.url = "nats://" + server.address();
    const auto connection = connect_to_nats(settings);
    REQUIRE(connection.ok());
    natsSubscription* raw = nullptr;
    REQUIRE(natsConnection_SubscribeSync(&raw, connection->get(), (prefix + ".*").c_str()) == NATS_OK);
    const NatsOwned<natsSubscription> subscription(raw);
    REQUIRE(natsConnection_FlushTimeout(connection->get(), 2'000) == NATS_OK);
    const auto sink = make_core(server.port(), prefix, true);
    REQUIRE(sink->open({}).ok());
    const auto deliveries = sample_deliveries({"a.b"}, 1);
    REQUIRE(sink->write({deliveries, {}}, {}).written == 1);
    natsMsg* message = nullptr;
    REQUIRE(natsSubscription_NextMsg(&message, raw, 5'000) == NATS_OK);
    const NatsOwned<natsMsg> owned(message);
    CHECK(std::string(natsMsg_GetSubject(message)) == prefix + ".a%2Eb");
    CHECK(header_of(message, "content-type") == kStructuredType);
    const auto event =
        read_back_structured({natsMsg_GetData(message), static_cast<size_t>(natsMsg_GetDataLength(message))});
    REQUIRE(event.ok());
    CHECK(event->tenant == "a.b");
    CHECK(event->cursor == cursor_of(deliveries[0]));
  }
  TEST_CASE("core: heartbeats have subjects of their own") {
    HG_NATS(server);
    check_heartbeats(core_contract(server, false));
  }
  TEST_CASE("core: what the server does not let through is not delivered, and all else once it is known") {
    std::string reason;
    const auto server = start_nats(&reason,
                                   "authorization { users = [\n"
                                   "  {user: relay, password: pw, permissions: {publish: [\"hg.good\"]}}\n"
                                   "  {user: reader, password: pw}\n] }\n");
    if (server == nullptr) HG_SKIP(reason);
    NatsCoreSettings settings;
    settings.connection.url = fmt::format("nats://relay:pw@{}", server->address());
    settings.prefix = "hg";
    const auto sink = *make_nats_core_sink("nats", {}, settings);
    const auto subscriber = testing::subscribe_nats_core("reader:pw@" + server->address(), "hg.>");
    REQUIRE(subscriber->wait_ready(std::chrono::seconds(10)));
    const auto deliveries = sample_deliveries({"good", "bad"}, 4);
    REQUIRE(sink->open({}).ok());
    CHECK(sink->write({deliveries, {}}, {}).status.code() == StatusCode::kPermissionDenied);
    CHECK(sink->write({deliveries, {}}, {}).status.code() == StatusCode::kUnavailable);
    REQUIRE(sink->open({}).ok());
    const WriteResult known = sink->write({deliveries, {}}, {});
    CHECK(known.written == 1);
    CHECK(known.status.code() == StatusCode::kPermissionDenied);
    CHECK(message_of(known.status).find("hg.bad") != std::string::npos);
    REQUIRE(sink->open({}).ok());
    CHECK(sink->write({std::span(deliveries).subspan(1), {}}, {}).written == 0);
    REQUIRE(sink->open({}).ok());
    CHECK(sink->write({std::span(deliveries).subspan(2, 1), {}}, {}).written == 1);
    REQUIRE(subscriber->wait_for(2, std::chrono::seconds(10)));
    for (const auto& event : subscriber->received()) CHECK(event.tenant == "good");
  }
  TEST_CASE("core: a name and a password in the url may be percent-encoded") {
    std::string reason;
    const auto server = start_nats(&reason, "authorization { users = [{user: \"re:lay\", password: \"p@ss/%\"}] }\n");
    if (server == nullptr) HG_SKIP(reason);
    NatsConnectionSettings settings;
    settings.url = "nats://re%3Alay:p%40ss%2F%25@" + server->address();
    CHECK(connect_to_nats(settings).ok());
    settings.url = "nats://re%3Alay:other%20one@" + server->address();
    const Status refused = connect_to_nats(settings).status();
    CHECK(refused.code() == StatusCode::kPermissionDenied);
    CHECK(message_of(refused).find("other") == std::string::npos);
  }
  TEST_CASE("core: the sink may be closed at any time") {
    HG_NATS(server);
    check_close(core_contract(server, false));
  }
  TEST_CASE("core: an absent server is UNAVAILABLE") {
    HG_NATS(server);
    check_absent_server(core_contract(server, false));
  }
  TEST_CASE("core: the stop token is honoured while the server hangs") {
    HG_NATS(server);
    check_stop_token(core_contract(server, false));
  }
}

}  // namespace headgate::sinks
