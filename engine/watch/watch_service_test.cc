#include "engine/watch/watch_service.h"

#include <doctest/doctest.h>

#include <future>

#include "base/v1/service.grpc.pb.h"
#include "engine/storage/migrations.h"
#include "engine/storage/postgres_history.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "headgate/v1/feed.grpc.pb.h"
#include "tests/support/engine_session.h"
#include "tests/support/postgres.h"

namespace headgate::engine {

namespace {

using testing::EngineSession;
using testing::PostgresDatabase;
using testing::wait_until;

// A database, a feed and a server on a free port.
struct World {
  explicit World(std::unique_ptr<PostgresDatabase> fresh, WatchSettings settings = {}, FeedSettings tail = {})
      : database(std::move(fresh)) {
    const Status status = migrate_database({.uri = database->uri()}, {});
    REQUIRE_MESSAGE(status.ok(), describe(status));
    feed = std::make_unique<Feed>([uri = database->uri()] { return open_history({.uri = uri}); }, tail);
    services = make_watch_services(*feed, settings);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&services->watch());
    builder.RegisterService(&services->feed());
    server = builder.BuildAndStart();
    REQUIRE(server != nullptr);
    channel = grpc::CreateChannel(fmt::format("127.0.0.1:{}", port), grpc::InsecureChannelCredentials());
    writer = std::make_unique<EngineSession>(database->uri());
  }
  ~World() { server->Shutdown(std::chrono::system_clock::now() + Duration(500)); }

  std::unique_ptr<PostgresDatabase> database;
  std::unique_ptr<Feed> feed;
  std::unique_ptr<WatchServices> services;
  std::unique_ptr<grpc::Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<EngineSession> writer;
};

// One Watch stream; the deadline keeps a fault from hanging the test.
struct WatchClient {
  WatchClient(World& world, const std::string& tenant, const std::string& token = "",
              const std::map<std::string, std::string>& metadata = {})
      : stub(base::v1::Watch::NewStub(world.channel)) {
    for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    base::v1::WatchRequest request;
    request.set_tenant_id(tenant);
    request.set_snap_token(token);
    reader = stub->Watch(&context, request);
  }
  // Blocks until the server has taken the start position.
  std::string start() {
    reader->WaitForInitialMetadata();
    const auto found = context.GetServerInitialMetadata().find("headgate-start-token");
    return found == context.GetServerInitialMetadata().end() ? ""
                                                             : std::string(found->second.data(), found->second.size());
  }
  std::optional<base::v1::DataChanges> next() {
    base::v1::WatchResponse response;
    if (!reader->Read(&response)) return std::nullopt;
    return response.changes();
  }
  grpc::Status end() {
    while (next()) {
    }
    return reader->Finish();
  }

  std::unique_ptr<base::v1::Watch::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<base::v1::WatchResponse>> reader;
};

struct FeedClient {
  FeedClient(World& world, const v1::SubscribeRequest& request) : stub(v1::Feed::NewStub(world.channel)) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    reader = stub->Subscribe(&context, request);
  }
  std::optional<v1::FeedMessage> next() {
    v1::FeedMessage message;
    if (!reader->Read(&message)) return std::nullopt;
    return message;
  }

  std::unique_ptr<v1::Feed::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::FeedMessage>> reader;
};

template <typename Detail>
std::optional<Detail> detail_of(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return std::nullopt;
  for (const auto& any : details.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

std::string reason(const grpc::Status& status) {
  const auto info = detail_of<google::rpc::ErrorInfo>(status);
  return info && info->domain() == "headgate" ? info->reason() : "";
}

}  // namespace

#define HG_WORLD(name, ...)                                                                                       \
  auto database_of_##name = PostgresDatabase::create();                                                           \
  if (database_of_##name == nullptr) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine"); \
  World name(std::move(database_of_##name) __VA_OPT__(, ) __VA_ARGS__)

TEST_SUITE("watch/service") {
  TEST_CASE("watch: one message a transaction, with a token that resumes") {
    HG_WORLD(world);
    world.writer->write("t1", "before");
    WatchClient client(world, "t1");
    CHECK(client.start() != "");
    const uint64_t first = world.writer->write("t1", "a");
    world.writer->begin("t1");
    world.writer->remove("a");
    world.writer->add("b");
    world.writer->commit();
    auto message = client.next();
    REQUIRE(message);
    CHECK(message->snap_token() == encode_legacy_token(first));
    REQUIRE(message->data_changes_size() == 1);
    CHECK(message->data_changes(0).tuple().entity().id() == "a");
    message = client.next();
    REQUIRE(message);
    REQUIRE(message->data_changes_size() == 2);
    CHECK(message->data_changes(0).operation() == base::v1::DataChange::OPERATION_DELETE);
    WatchClient resumed(world, "t1", encode_legacy_token(first));
    const auto same = resumed.next();
    REQUIRE(same);
    CHECK(same->SerializeAsString() == message->SerializeAsString());
    client.context.TryCancel();
    CHECK(client.end().error_code() == grpc::StatusCode::CANCELLED);
    CHECK(wait_until([&] { return world.services->stats().watch_streams == 1 && world.feed->stats().streams == 1; }));
  }

  TEST_CASE("watch: refusals carry code and reason, and come within a second") {
    HG_WORLD(world);
    const uint64_t other = world.writer->write("t2", "a");
    const auto begin = std::chrono::steady_clock::now();
    const grpc::Status malformed = WatchClient(world, "t1", "%%").end();
    CHECK(malformed.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(reason(malformed) == "MALFORMED_TOKEN");
    const grpc::Status unknown = WatchClient(world, "t1", encode_legacy_token(other)).end();
    CHECK(unknown.error_code() == grpc::StatusCode::OUT_OF_RANGE);
    CHECK(reason(unknown) == "UNKNOWN_TOKEN");
    CHECK(reason(WatchClient(world, "t1", encode_legacy_token(other + 1'000'000)).end()) == "FUTURE_TOKEN");
    CHECK(reason(WatchClient(world, "t1", "", {{"headgate-incarnation", "1/1"}}).end()) == "OTHER_INCARNATION");
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
  }

  TEST_CASE("watch: switched off it ends with OK and no message") {
    HG_WORLD(world, WatchSettings{.enabled = false});
    CHECK(WatchClient(world, "t1", "%%").end().ok());
  }

  TEST_CASE("watch: heartbeats only for who asks, with a token that can be continued from") {
    HG_WORLD(world);
    WatchClient plain(world, "t1"), beating(world, "t1", "", {{"headgate-heartbeat-ms", "100"}});
    plain.start();
    std::string token;
    for (int i = 0; i < 3; ++i) {
      const auto message = beating.next();
      REQUIRE(message);
      CHECK(message->data_changes_size() == 0);
      token = message->snap_token();
      CHECK(decode_snap_token(token)->is_position());
    }
    const uint64_t xid = world.writer->write("t1", "a");
    const auto first = plain.next();
    REQUIRE(first);
    CHECK(first->snap_token() == encode_legacy_token(xid));
    WatchClient resumed(world, "t1", token);
    CHECK(resumed.next()->snap_token() == encode_legacy_token(xid));
  }

  TEST_CASE("watch: a client that goes while its message is being written leaves nothing behind") {
    HG_WORLD(world, WatchSettings{.opens_burst = 10'000});
    world.writer->write("t1", "a");
    const std::string beginning = encode_legacy_token(0);
    for (int i = 0; i < 300; ++i) {
      WatchClient client(world, "t1", beginning);
      REQUIRE(client.next());
    }
    CHECK(wait_until([&] { return world.services->stats().watch_streams == 0; }));
  }

  TEST_CASE("watch: a client that does not read holds up nobody and loses nothing") {
    FeedSettings tail;
    tail.ring.bytes_max = 200'000;
    tail.catch_up_bytes = 50'000;
    HG_WORLD(world, WatchSettings{.buffer_messages = 10}, tail);
    WatchClient slow(world, "t1"), quick(world, "t1");
    slow.start();
    quick.start();
    constexpr int kWrites = 400;
    for (int i = 0; i < kWrites; ++i) {
      world.writer->begin("t1");
      world.writer->add_many(60, "d" + std::to_string(i) + "_");
      world.writer->commit();
    }
    std::vector<std::string> seen;
    for (int i = 0; i < kWrites; ++i) seen.push_back(quick.next()->snap_token());
    CHECK(world.feed->stats().ring_bytes <= 200'000);
    for (int i = 0; i < kWrites; ++i) {
      const auto message = slow.next();
      REQUIRE(message);
      REQUIRE(message->snap_token() == seen[static_cast<size_t>(i)]);
      REQUIRE(message->data_changes_size() == 60);
    }
  }

  TEST_CASE("watch: opens above the budget and streams above the limit are RESOURCE_EXHAUSTED with a hint") {
    HG_WORLD(world, WatchSettings{.streams_max = 2, .opens_per_second = 0.5, .opens_burst = 3});
    WatchClient one(world, "t1"), two(world, "t1");
    one.start();
    two.start();
    grpc::Status status = WatchClient(world, "t1").end();
    CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
    status = WatchClient(world, "t1").end();
    CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
    const auto retry = detail_of<google::rpc::RetryInfo>(status);
    REQUIRE(retry);
    CHECK(retry->retry_delay().seconds() >= 1);
    CHECK(world.services->stats().refused == 2);
  }

  TEST_CASE("watch: streams are admitted as other calls") {
    const Authenticator authenticator({"key"});
    const auto admitted = std::make_unique<AdmittedCalls>();
    const CallAdmission admission(authenticator, *admitted);
    WorkerPool workers(1, 1, 1);
    CallRunner calls(workers, admission);
    HG_WORLD(world, WatchSettings{.calls = &calls});
    const grpc::Status status = WatchClient(world, "t1").end();
    CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
    CHECK(status.error_message() == "ERROR_CODE_MISSING_BEARER_TOKEN");
  }

  TEST_CASE("watch: shutting down ends every stream with a hint, spread over the window") {
    HG_WORLD(world);
    std::vector<std::unique_ptr<WatchClient>> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(std::make_unique<WatchClient>(world, "t1"));
      clients.back()->start();
    }
    v1::SubscribeRequest all;
    all.set_all_tenants(true);
    FeedClient feed(world, all);
    REQUIRE(feed.next());
    const auto begin = std::chrono::steady_clock::now();
    auto draining = std::async(std::launch::async, [&] { world.services->drain(Duration(400)); });
    std::vector<std::future<grpc::Status>> ends;
    for (auto& client : clients) ends.push_back(std::async(std::launch::async, [&] { return client->end(); }));
    for (auto& end : ends) {
      const grpc::Status status = end.get();
      CHECK(status.error_code() == grpc::StatusCode::UNAVAILABLE);
      const auto retry = detail_of<google::rpc::RetryInfo>(status);
      REQUIRE(retry);
      CHECK(retry->retry_delay().seconds() == 0);
    }
    while (feed.next()) {
    }
    CHECK(feed.reader->Finish().error_code() == grpc::StatusCode::UNAVAILABLE);
    draining.get();
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(1'500));
    CHECK(world.services->stats().watch_streams == 0);
    CHECK(WatchClient(world, "t1").end().error_code() == grpc::StatusCode::UNAVAILABLE);
  }

  TEST_CASE("watch: opening, cancelling and writing at once leaves nothing behind") {
    HG_WORLD(world, WatchSettings{.opens_per_second = 1e6, .opens_burst = 1e6});
    std::atomic<bool> stop = false;
    std::jthread writes([&] {
      EngineSession writer(world.database->uri());
      for (int i = 0; !stop; ++i) writer.write("t1", "e" + std::to_string(i));
    });
    std::vector<std::jthread> clients;
    for (int n = 0; n < 4; ++n) {
      clients.emplace_back([&, n] {
        for (int i = 0; i < 50; ++i) {
          WatchClient client(world, "t1");
          if ((i + n) % 3 != 0) client.start();
          if ((i + n) % 3 == 1) client.next();
          client.context.TryCancel();
          client.end();
        }
      });
    }
    clients.clear();
    stop = true;
    CHECK(wait_until([&] { return world.services->stats().watch_streams == 0 && world.feed->stats().streams == 0; }));
  }

  TEST_CASE("feed: all tenants in xid order, faults as events, positions in heartbeats") {
    HG_WORLD(world);
    const uint64_t a = world.writer->write("a", "1"), b = world.writer->write("b", "2"),
                   c = world.writer->write("a", "3");
    v1::SubscribeRequest request;
    request.set_all_tenants(true);
    request.set_default_start(v1::START_POLICY_EARLIEST);
    request.set_heartbeat_interval_ms(100);
    auto* position = request.add_positions();
    position->set_tenant_id("b");
    position->set_snap_token(encode_legacy_token(a));
    FeedClient client(world, request);
    auto message = client.next();
    REQUIRE(message);
    CHECK(message->opened().incarnation().ends_with("/1"));
    CHECK(message->opened().position() > c);
    std::vector<uint64_t> xids;
    std::vector<v1::TenantEvent> events;
    uint64_t reached = 0;
    bool written = false;
    uint64_t last = 0;
    while (last == 0 || reached <= last) {
      message = client.next();
      REQUIRE(message);
      for (const auto& transaction : message->batch().transactions()) {
        xids.push_back(transaction.xid());
        base::v1::DataChanges changes;
        REQUIRE(changes.ParseFromString(transaction.changes()));
        CHECK(changes.snap_token() == transaction.snap_token());
      }
      if (message->has_tenant()) events.push_back(message->tenant());
      if (message->has_heartbeat()) {
        CHECK(message->heartbeat().position() >= reached);
        reached = message->heartbeat().position();
        if (!written && reached > c) {
          last = world.writer->write("c", "4");
          written = true;
        }
      }
    }
    CHECK(xids == std::vector<uint64_t>{a, c, last});
    REQUIRE(events.size() == 1);
    CHECK(events[0].tenant_id() == "b");
    CHECK(events[0].reason() == "UNKNOWN_TOKEN");
    // It could start behind everything that is there, not merely where the stream has been read to.
    const auto head = decode_snap_token(events[0].snap_token());
    CHECK(head->is_position());
    CHECK(head->xid >= c);
    CHECK(b > a);
  }

  TEST_CASE("feed: malformed requests are INVALID_ARGUMENT, another incarnation OUT_OF_RANGE") {
    HG_WORLD(world);
    v1::SubscribeRequest request;
    FeedClient empty(world, request);
    CHECK(!empty.next());
    CHECK(empty.reader->Finish().error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    request.set_all_tenants(true);
    request.set_incarnation("other/1");
    FeedClient other(world, request);
    CHECK(!other.next());
    CHECK(other.reader->Finish().error_code() == grpc::StatusCode::OUT_OF_RANGE);
  }
}

}  // namespace headgate::engine
