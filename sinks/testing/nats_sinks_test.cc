#include <thread>

#include "sinks/nats/ack_inbox.h"
#include "sinks/nats/nats_sinks.h"
#include "sinks/nats/stream_room.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/nats_rig.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

JetStreamSettings jetstream_settings(int port, const std::string& prefix) {
  JetStreamSettings settings;
  settings.connection.url = fmt::format("nats://127.0.0.1:{}", port);
  settings.stream = "S-" + prefix;
  settings.prefix = prefix;
  settings.create_stream = true;
  settings.ack_timeout = Duration(3'000);
  return settings;
}

std::unique_ptr<Sink> make_jetstream(const JetStreamSettings& settings) {
  auto sink = make_jetstream_sink("nats", {}, settings);
  REQUIRE_MESSAGE(sink.ok(), describe(sink.status()));
  return *std::move(sink);
}

// The last sequence of each tenant; no event may be missing before it, or come twice.
std::map<std::string, uint64_t> last_sequences(const testing::Subscriber& subscriber) {
  std::map<std::string, uint64_t> last;
  for (const auto& event : subscriber.received()) CHECK(event.sequence == ++last[event.tenant]);
  return last;
}

Contract jetstream_contract(TestServer& server, const std::string& prefix = fresh_nats_prefix()) {
  const JetStreamSettings settings = jetstream_settings(server.port(), prefix);
  const std::string address = server.address();
  Contract contract;
  contract.make = [=] { return make_jetstream(settings); };
  contract.make_limited = [=](size_t bytes) {
    JetStreamSettings limited = settings;
    limited.event_bytes_max = bytes;
    return make_jetstream(limited);
  };
  contract.make_absent = [=] { return make_jetstream(jetstream_settings(testing::free_port(), prefix)); };
  contract.subscribe = [=] { return testing::subscribe_jetstream(address, settings.stream, prefix + ".>"); };
  steer(contract, server);
  return contract;
}

// What the server says of the stream.
jsStreamState state_of(TestServer& server, const std::string& stream) {
  NatsConnectionSettings settings;
  settings.url = "nats://" + server.address();
  const auto connection = connect_to_nats(settings);
  REQUIRE(connection.ok());
  jsCtx* context = nullptr;
  REQUIRE(natsConnection_JetStream(&context, connection->get(), nullptr) == NATS_OK);
  const NatsOwned<jsCtx> owned(context);
  jsStreamInfo* info = nullptr;
  REQUIRE(js_GetStreamInfo(&info, context, stream.c_str(), nullptr, nullptr) == NATS_OK);
  return NatsOwned<jsStreamInfo>(info)->State;
}

// Sets the largest message of a stream that is there.
void limit_messages(TestServer& server, const std::string& stream, const std::string& subjects, int32_t bytes) {
  NatsConnectionSettings settings;
  settings.url = "nats://" + server.address();
  const auto connection = connect_to_nats(settings);
  REQUIRE(connection.ok());
  jsCtx* context = nullptr;
  REQUIRE(natsConnection_JetStream(&context, connection->get(), nullptr) == NATS_OK);
  const NatsOwned<jsCtx> owned(context);
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  const char* list[] = {subjects.c_str()};
  config.Name = stream.c_str();
  config.Subjects = list;
  config.SubjectsLen = 1;
  config.Discard = js_DiscardNew;
  config.MaxMsgSize = bytes;
  jsStreamInfo* info = nullptr;
  REQUIRE(js_UpdateStream(&info, context, &config, nullptr, nullptr) == NATS_OK);
  jsStreamInfo_Destroy(info);
}

uint64_t taken_by(TestServer& server, const std::string& stream) { return state_of(server, stream).LastSeq; }

uint64_t dropped_by(TestServer& server, const std::string& stream) { return state_of(server, stream).FirstSeq - 1; }

}  // namespace

TEST_SUITE("nats/jetstream_sink") {
  TEST_CASE("jetstream: keeps the order per tenant") {
    HG_NATS(server);
    check_order_per_tenant(jetstream_contract(server));
  }
  TEST_CASE("jetstream: the sink may be closed at any time") {
    HG_NATS(server);
    check_close(jetstream_contract(server));
  }
  TEST_CASE("jetstream: an absent server is UNAVAILABLE") {
    HG_NATS(server);
    check_absent_server(jetstream_contract(server));
  }
  TEST_CASE("jetstream: the stop token is honoured while the server hangs") {
    HG_NATS(server);
    check_stop_token(jetstream_contract(server));
  }
  TEST_CASE("jetstream: a repeated batch is stored once") {
    HG_NATS(server);
    check_repeated_batch(jetstream_contract(server));
  }
  TEST_CASE("jetstream: tells the last event after it was opened again") {
    HG_NATS(server);
    check_recover(jetstream_contract(server));
  }
  TEST_CASE("jetstream: control events and a new incarnation are kept, whatever their xid") {
    HG_NATS(server);
    check_control_events(jetstream_contract(server));
  }
  TEST_CASE("jetstream: heartbeats are in nobody's way") {
    HG_NATS(server);
    check_heartbeats(jetstream_contract(server));
  }
  TEST_CASE("jetstream: finds tenants without a cursor by their subjects") {
    HG_NATS(server);
    const Contract contract = jetstream_contract(server);
    const auto deliveries = sample_deliveries({"t1", "t.2_x"}, 8);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({deliveries, {}}, {}).written == 8);
    sink->close();
    REQUIRE(sink->open({}).ok());
    const auto held = sink->recover({}, {});
    REQUIRE_MESSAGE(held.ok(), describe(held.status()));
    REQUIRE(held->size() == 2);
    CHECK(held->at("t1") == cursor_of(deliveries[6]));
    CHECK(held->at("t.2_x") == cursor_of(deliveries[7]));
  }
  TEST_CASE("jetstream: heartbeats may not go where a tenant's events go") {
    JetStreamSettings settings = jetstream_settings(4222, "p");
    settings.heartbeat_subject = "{prefix}";
    CHECK(make_jetstream_sink("nats", {}, settings).status().code() == StatusCode::kInvalidArgument);
    settings.heartbeat_subject = "{prefix}.{tenant}";
    CHECK(make_jetstream_sink("nats", {}, settings).status().code() == StatusCode::kInvalidArgument);
  }
  TEST_CASE("jetstream: knows how far a snapshot came") {
    HG_NATS(server);
    check_recover_in_snapshot(jetstream_contract(server));
  }
  TEST_CASE("jetstream: an event that is too large is refused with its id") {
    HG_NATS(server);
    check_oversize(jetstream_contract(server));
  }
  TEST_CASE("jetstream: the event that is too large is the one that is blamed, whatever the others wait for") {
    HG_NATS(server);
    const auto sink = jetstream_contract(server).make_limited(3'000);
    REQUIRE(sink->open({}).ok());
    // On an empty stream one event of each tenant goes out at a time, so the large one is met before all of "a" are.
    std::vector<Delivery> deliveries = sample_deliveries({"a"}, 4);
    deliveries.insert(deliveries.begin() + 3, sample_deliveries({"b"}, 1, 5'000).front());
    const WriteResult result = sink->write({deliveries, {}}, {});
    CHECK(result.written == 3);
    CHECK(result.status.code() == StatusCode::kInvalidArgument);
    CHECK(message_of(result.status).find("event b/") != std::string::npos);
    CHECK(sink->write({std::span(deliveries).subspan(4), {}}, {}).written == 1);
  }
  TEST_CASE("jetstream: what was sent before a refused event, without asking for an answer, counts as written") {
    HG_NATS(server);
    const std::string prefix = fresh_nats_prefix();
    const Contract contract = jetstream_contract(server, prefix);
    const auto sink = contract.make_limited(3'000);
    REQUIRE(sink->open({}).ok());
    std::vector<Delivery> deliveries = sample_deliveries({"a"}, 204);
    const Delivery large = sample_deliveries({"b"}, 1, 5'000).front();
    // The stream is not empty any more when the batch with the large event comes, so that goes out as a chain.
    REQUIRE(sink->write({std::span(deliveries).first(3), {}}, {}).written == 3);
    deliveries.insert(deliveries.begin() + 203, large);
    const WriteResult result = sink->write({std::span(deliveries).subspan(3), {}}, {});
    CHECK(result.written == 200);
    CHECK(result.status.code() == StatusCode::kInvalidArgument);
    CHECK(sink->write({std::span(deliveries).subspan(204), {}}, {}).written == 1);
    CHECK(taken_by(server, "S-" + prefix) == 204);
    CHECK(state_of(server, "S-" + prefix).Msgs == 204);
  }
  TEST_CASE("jetstream: a duplicate at the end of a chain does not vouch for what stands before it") {
    HG_NATS(server);
    const std::string prefix = fresh_nats_prefix();
    const Contract contract = jetstream_contract(server, prefix);
    const auto first = contract.make();
    const auto second = contract.make();
    REQUIRE(first->open({}).ok());
    const auto before = sample_deliveries({"c"}, 1);
    REQUIRE(first->write({before, {}}, {}).written == 1);
    REQUIRE(second->open({}).ok());
    // Moves the stream, so that the chain of the second is refused from its beginning; its end is known by its id.
    std::vector<Delivery> deliveries = sample_deliveries({"a"}, 5);
    deliveries.push_back(sample_deliveries({"b"}, 1).front());
    REQUIRE(first->write({std::span(deliveries).last(1), {}}, {}).written == 1);
    CHECK(second->write({deliveries, {}}, {}).written == 6);
    const auto subscriber = contract.subscribe();
    CHECK(subscriber->wait_for(7, std::chrono::seconds(10)));
    CHECK(last_sequences(*subscriber) == std::map<std::string, uint64_t>{{"a", 5}, {"b", 1}, {"c", 1}});
  }
  TEST_CASE("jetstream: tenants that were quiet since the start are looked at before they are written to") {
    HG_NATS(server);
    const std::string prefix = fresh_nats_prefix();
    const Contract contract = jetstream_contract(server, prefix);
    const auto deliveries = sample_deliveries({"a", "b", "c"}, 63);
    const auto before = contract.make();
    REQUIRE(before->open({}).ok());
    REQUIRE(before->write({{&deliveries[0], 30}, {3}}, {}).written == 30);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    const auto held = sink->recover({{"a", {}}, {"b", {}}, {"c", cursor_of(deliveries[29])}}, {});
    REQUIRE(held.ok());
    CHECK(held->at("a") == cursor_of(deliveries[27]));
    // Somebody else goes on meanwhile, and the caller has not heard of it.
    REQUIRE(before->write({{&deliveries[30], 3}, {3}}, {}).written == 3);
    REQUIRE(sink->write({{&deliveries[24], 39}, {4}}, {}).written == 39);
    CHECK(taken_by(server, jetstream_settings(server.port(), prefix).stream) == 63);
    CHECK(before->write({{&deliveries[60], 3}, {3}}, {}).written == 3);  // there already
  }

  TEST_CASE("jetstream: a tenant whose name makes no subject is refused, and nobody else is taken for written") {
    HG_NATS(server);
    JetStreamSettings settings = jetstream_settings(server.port(), fresh_nats_prefix());
    settings.subject = "{prefix}." + std::string(900, 'x') + ".{tenant}";
    settings.create_stream = true;
    const auto sink = make_jetstream(settings);
    REQUIRE(sink->open({}).ok());
    std::vector<Delivery> deliveries = sample_deliveries({"a"}, 2);
    deliveries.push_back(sample_deliveries({std::string(128, ' ')}, 1).front());
    const WriteResult result = sink->write({deliveries, {}}, {});
    CHECK(result.written == 2);
    CHECK(result.status.code() == StatusCode::kInvalidArgument);
    CHECK(taken_by(server, settings.stream) == 2);
    CHECK(sink->recover({{"a", {}}, {std::string(128, ' '), {}}}, {}).ok());
  }
  TEST_CASE("jetstream: an event above the server's max_payload is refused") {
    HG_NATS(server);
    const auto sink = jetstream_contract(server).make();
    REQUIRE(sink->open({}).ok());
    const WriteResult result = sink->write({sample_deliveries({"t"}, 1, 2 << 20), {}}, {});
    CHECK(result.written == 0);
    CHECK(result.status.code() == StatusCode::kInvalidArgument);
  }
  TEST_CASE("nats: tells the largest event: the least of its own limit, the stream's and the server's") {
    HG_NATS(server);
    const auto core = make_core(server.port(), fresh_nats_prefix(), false);
    REQUIRE(core->open({}).ok());
    const size_t payload = core->max_event_bytes();
    CHECK(payload > 0);
    const std::string prefix = fresh_nats_prefix();
    const Contract contract = jetstream_contract(server, prefix);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    CHECK(sink->max_event_bytes() == payload);
    const auto limited = contract.make_limited(3'000);
    REQUIRE(limited->open({}).ok());
    CHECK(limited->max_event_bytes() == 3'000);
    limit_messages(server, "S-" + prefix, prefix + ".>", 2'000);
    REQUIRE(sink->open({}).ok());
    CHECK(sink->max_event_bytes() == 2'000);
  }
  TEST_CASE("jetstream: a stale owner is fenced") {
    HG_NATS(server);
    check_fence(jetstream_contract(server));
  }
  TEST_CASE("jetstream: a server that is killed loses and repeats nothing") {
    HG_NATS(server);
    check_server_killed(jetstream_contract(server));
  }

  TEST_CASE("jetstream: two publishers on one stream keep all orders") {
    HG_NATS(server);
    const std::string prefix = fresh_nats_prefix();
    const Contract contract = jetstream_contract(server, prefix);
    const auto first = contract.make();
    const auto second = contract.make();
    REQUIRE(first->open({}).ok());
    REQUIRE(second->open({}).ok());
    const auto mine = sample_deliveries({"a", "b"}, 3'000);
    const auto theirs = sample_deliveries({"c", "d"}, 3'000);
    bool complete = false;
    std::jthread other([&] { complete = deliver_all(*second, theirs, std::chrono::seconds(60)); });
    CHECK(deliver_all(*first, mine, std::chrono::seconds(60)));
    other.join();
    CHECK(complete);
    const auto subscriber = contract.subscribe();
    CHECK(subscriber->wait_for(6000, std::chrono::seconds(10)));
    CHECK(subscriber->faults().empty());
    CHECK(subscriber->count() == 6'000);
    CHECK(last_sequences(*subscriber).size() == 4);
  }

  TEST_CASE("jetstream: a full stream is RESOURCE_EXHAUSTED and keeps a prefix of every tenant") {
    HG_NATS(server);
    const std::string prefix = fresh_nats_prefix();
    JetStreamSettings settings = jetstream_settings(server.port(), prefix);
    settings.stream_bytes_max = 50'000;
    const auto sink = make_jetstream(settings);
    REQUIRE(sink->open({}).ok());
    const auto deliveries = sample_deliveries({"a", "b"}, 1'000);
    const WriteResult result = sink->write({deliveries, {}}, {});
    CHECK(result.status.code() == StatusCode::kResourceExhausted);
    CHECK(result.written > 10);
    CHECK(result.written < 1'000);
    // A wrong count here would be a false acknowledgement, so the stream itself is asked as well.
    REQUIRE(taken_by(server, settings.stream) >= result.written);
    const auto subscriber = testing::subscribe_jetstream(server.address(), settings.stream, prefix + ".>");
    REQUIRE(subscriber->wait_for(result.written, std::chrono::seconds(30)));
    CHECK(last_sequences(*subscriber).size() == 2);
  }

  // nats-server 2.9.10 counts less of a message than it stores, and makes room by dropping the oldest ones.
  TEST_CASE("jetstream: whatever the limit, the server is never brought to drop the oldest events of a full stream") {
    HG_NATS(server);
    const auto deliveries = sample_deliveries({"a"}, 100, 300);
    for (int64_t bytes = 20'000; bytes < 20'600; bytes += 20) {
      CAPTURE(bytes);
      const std::string prefix = fresh_nats_prefix();
      JetStreamSettings settings = jetstream_settings(server.port(), prefix);
      settings.stream_bytes_max = bytes;
      const auto sink = make_jetstream(settings);
      REQUIRE(sink->open({}).ok());
      const WriteResult result = sink->write({deliveries, {}}, {});
      CHECK(result.status.code() == StatusCode::kResourceExhausted);
      CHECK(message_of(result.status).find("raise max_bytes") != std::string::npos);
      CHECK(result.written > 10);
      CHECK(taken_by(server, settings.stream) == result.written);
      CHECK(dropped_by(server, settings.stream) == 0);
      CHECK(sink->write({std::span(deliveries).subspan(result.written), {}}, {}).written == 0);
      CHECK(dropped_by(server, settings.stream) == 0);
    }
  }

  TEST_CASE("jetstream: settings of a stream that drop events are named") {
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    CHECK(dropping_settings(config).empty());
    config.Discard = js_DiscardOld;
    config.MaxBytes = 7;
    config.MaxMsgs = 8;
    CHECK(dropping_settings(config) == "discard=old with max_bytes=7, discard=old with max_msgs=8");
    config.Discard = js_DiscardNew;
    CHECK(dropping_settings(config).empty());
    config.MaxMsgsPerSubject = 9;
    CHECK(dropping_settings(config) == "max_msgs_per_subject=9");
    config.DiscardNewPerSubject = true;
    CHECK(dropping_settings(config).empty());
  }

  TEST_CASE("jetstream: an absent stream is UNAVAILABLE unless it may be created") {
    HG_NATS(server);
    JetStreamSettings settings = jetstream_settings(server.port(), fresh_nats_prefix());
    settings.create_stream = false;
    const Status status = make_jetstream(settings)->open({});
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK(message_of(status).find("create_stream") != std::string::npos);
  }

  TEST_CASE("answers: stored, duplicate and refused are told apart") {
    CHECK(parse_publish_answer(R"({"stream":"S","seq":12})").sequence == 12);
    CHECK(parse_publish_answer(R"({"stream":"S","seq": 12,"duplicate": true})").duplicate);
    const auto wrong = parse_publish_answer(
        R"({"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"S","seq":0})");
    CHECK(wrong.wrong_sequence);
    CHECK(!wrong.status.ok());
    const auto full =
        parse_publish_answer(R"({"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}})");
    CHECK(full.status.code() == StatusCode::kResourceExhausted);
    CHECK(!parse_publish_answer("garbage").status.ok());
  }
}

}  // namespace headgate::sinks
