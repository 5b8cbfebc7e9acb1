// Where a stream starts: an empty tenant, and every kind of token that cannot be continued from.
#include "base/snap_token.h"
#include "tests/support/ahead.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_session.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/world.h"

TEST_SUITE("integration/tokens") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  void expect_refused(EngineClient & client, const std::string& tenant, const std::string& token, grpc::StatusCode code,
                      const std::string& reason) {
    CAPTURE(token);
    const auto begin = std::chrono::steady_clock::now();
    WatchReader reader(client, tenant, token);
    REQUIRE(reader.wait_end(5s));
    CHECK(std::chrono::steady_clock::now() - begin < 1s);
    CHECK(reader.count() == 0);
    CHECK(reader.status().error_code() == code);
    CHECK(error_reason(reader.status()) == reason);
    CHECK(!reader.status().error_message().empty());
  }

  // What the stream for relays says about one tenant's token: "" when the tenant is served.
  std::string feed_reason(EngineClient & client, const std::string& tenant, const std::string& token) {
    grpc::ClientContext context;
    set_deadline(context, 5s);
    headgate::v1::SubscribeRequest request;
    auto* position = request.add_positions();
    position->set_tenant_id(tenant);
    position->set_snap_token(token);
    request.set_heartbeat_interval_ms(100);
    const auto stream = client.stubs().feed->Subscribe(&context, request);
    headgate::v1::FeedMessage message;
    while (stream->Read(&message)) {
      if (message.has_tenant()) return message.tenant().reason();
      if (message.has_heartbeat()) return "";
    }
    return "ended: " + stream->Finish().error_message();
  }

  std::string write_one(EngineClient & client, const std::string& tenant, const std::string& doc) {
    const WriteAnswer answer = client.write(tenant, {tuple_of("doc:" + doc + "#owner@user:a")});
    REQUIRE(answer.status.ok());
    return answer.token;
  }

  TEST_CASE("start: a stream on an empty tenant gets its first write") {
    HG_WORLD(world, {.sinks = {}});
    world->create_tenants({"acme", "beta"});
    WatchReader head(world->client(), "acme", "");
    WatchReader beginning(world->client(), "acme", kBeginning);
    WatchReader unregistered(world->client(), "nobody-made-this-tenant", "");
    REQUIRE(head.wait_open(5s));
    REQUIRE(unregistered.wait_open(5s));
    write_one(world->client(), "beta", "0");
    write_one(world->client(), "acme", "1");
    for (WatchReader* reader : {&head, &beginning}) {
      REQUIRE(reader->wait_for(1, 5s));
      CHECK(texts_of(reader->messages()[0]) == std::vector<std::string>{"+doc:1#owner@user:a"});
    }
    EngineSession writer(world->database_uri());
    writer.write("nobody-made-this-tenant", "9");
    CHECK(unregistered.wait_for(1, 5s));
    CHECK(head.count() == 1);
  }

  TEST_CASE("start: a write's own token continues right behind it, a message's token behind the message") {
    HG_WORLD(world, {.sinks = {}});
    world->create_tenants({"acme"});
    const std::string first = write_one(world->client(), "acme", "1");
    write_one(world->client(), "acme", "2");
    WatchReader from_write(world->client(), "acme", first);
    REQUIRE(from_write.wait_for(1, 5s));
    CHECK(texts_of(from_write.messages()[0]) == std::vector<std::string>{"+doc:2#owner@user:a"});
    write_one(world->client(), "acme", "3");
    WatchReader from_message(world->client(), "acme", from_write.messages()[0].snap_token());
    REQUIRE(from_message.wait_for(1, 5s));
    CHECK(texts_of(from_message.messages()[0]) == std::vector<std::string>{"+doc:3#owner@user:a"});
  }

  TEST_CASE("start: a transaction that was open while the token was made is not lost") {
    HG_WORLD(world, {.sinks = {}});
    world->create_tenants({"acme"});
    EngineSession held(world->database_uri());
    held.begin("acme");
    held.add("held");
    const std::string token = write_one(world->client(), "acme", "later");
    WatchReader reader(world->client(), "acme", token);
    REQUIRE(reader.wait_open(5s));
    held.commit();
    REQUIRE(reader.wait_for(1, 5s));
    CHECK(texts_of(reader.messages()[0]) == std::vector<std::string>{"+doc:held#owner@user:u"});
  }

  TEST_CASE("refused: malformed, future and unknown tokens end the stream within a second and say why") {
    HG_WORLD(world, {.sinks = {}});
    world->create_tenants({"acme", "beta"});
    EngineClient& client = world->client();
    write_one(client, "acme", "1");
    const std::string other = write_one(client, "beta", "1");
    write_one(client, "acme", "2");

    for (const char* text : {"!", "not base64 at all", "aGVsbG8gd29ybGQ=", "MTI6eDp5Og==", "AAAA"}) {
      expect_refused(client, "acme", text, grpc::StatusCode::INVALID_ARGUMENT, "MALFORMED_TOKEN");
    }
    const uint64_t far = 1ULL << 40;
    expect_refused(client, "acme", headgate::encode_legacy_token(far), grpc::StatusCode::OUT_OF_RANGE, "FUTURE_TOKEN");
    expect_refused(client, "acme", headgate::encode_position_token(far), grpc::StatusCode::OUT_OF_RANGE,
                   "FUTURE_TOKEN");
    CHECK(feed_reason(client, "acme", headgate::encode_legacy_token(far)) == "FUTURE_TOKEN");

    const std::string of_other = headgate::encode_legacy_token(xid_of_token(other));
    expect_refused(client, "acme", of_other, grpc::StatusCode::OUT_OF_RANGE, "UNKNOWN_TOKEN");
    expect_refused(client, "acme", other, grpc::StatusCode::OUT_OF_RANGE, "UNKNOWN_TOKEN");
    CHECK(feed_reason(client, "acme", of_other) == "UNKNOWN_TOKEN");
    CHECK(feed_reason(client, "beta", of_other) == "");
  }

  TEST_CASE("refused: a token whose history was collected, by us or by Permify's collector") {
    HG_WORLD(world, {.sinks = {}, .engine_yaml = "gc:\n  enabled: true\n  interval: 1s\n  window: 1m\n"});
    world->create_tenants({"ours", "theirs"});
    EngineClient& client = world->client();
    EngineSession sql(world->database_uri());
    const std::string ours = headgate::encode_legacy_token(xid_of_token(write_one(client, "ours", "1")));
    for (int i = 2; i < 6; ++i) write_one(client, "ours", std::to_string(i));
    const std::string left = "SELECT count(*) FROM transactions WHERE tenant_id = 'ours'";
    {
      const Ahead ahead(world->database_uri(), "1 day");
      REQUIRE(wait_until([&] { return std::stoi(sql.value(left)) < 5; }, 15s));
    }
    expect_refused(client, "ours", ours, grpc::StatusCode::OUT_OF_RANGE, "HISTORY_GONE");
    CHECK(feed_reason(client, "ours", ours) == "HISTORY_GONE");

    const std::string theirs = headgate::encode_legacy_token(xid_of_token(write_one(client, "theirs", "1")));
    const std::string second = write_one(client, "theirs", "2");
    sql.run("DELETE FROM transactions WHERE tenant_id = 'theirs' AND id < '" + std::to_string(xid_of_token(second)) +
            "'::xid8");
    expect_refused(client, "theirs", theirs, grpc::StatusCode::OUT_OF_RANGE, "HISTORY_GONE");

    // What is still whole can be continued from.
    WatchReader reader(client, "theirs", second);
    write_one(client, "theirs", "3");
    CHECK(reader.wait_for(1, 5s));
  }

  TEST_CASE("refused: a token of the history before a standby was promoted") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    TempFolder folder("headgate-promote");
    PostgresServer primary(folder.path() + "/primary", {"wal_level=replica"});
    primary.start();
    used_server("postgresql with a standby");
    std::string before, incarnation;
    const auto open_feed = [](EngineClient& client, const std::string& wanted, std::string& found) {
      grpc::ClientContext context;
      set_deadline(context, 5s);
      headgate::v1::SubscribeRequest request;
      request.set_all_tenants(true);
      request.set_incarnation(wanted);
      const auto stream = client.stubs().feed->Subscribe(&context, request);
      headgate::v1::FeedMessage message;
      if (stream->Read(&message) && message.has_opened()) {
        found = message.opened().incarnation();
        context.TryCancel();
        return grpc::Status::OK;
      }
      return stream->Finish();
    };
    {
      EngineProgram engine(folder.path(), {.database_uri = primary.uri(), .name = "engine-before"});
      engine.start();
      EngineClient client(engine.address());
      client.create_tenant("t9", kSchema);
      before = write_one(client, "t9", "1");
      REQUIRE(open_feed(client, "", incarnation).ok());
      engine.stop();
    }
    const auto standby = PostgresServer::standby_of(primary, folder.path() + "/standby");
    standby->start();
    primary.stop();
    standby->promote();

    EngineProgram engine(folder.path(), {.database_uri = standby->uri(), .name = "engine-after"});
    engine.start();
    EngineClient client(engine.address());
    expect_refused(client, "t9", before, grpc::StatusCode::OUT_OF_RANGE, "OTHER_INCARNATION");
    CHECK(feed_reason(client, "t9", before) == "OTHER_INCARNATION");
    std::string now;
    const grpc::Status refused = open_feed(client, incarnation, now);
    CHECK(refused.error_code() == grpc::StatusCode::OUT_OF_RANGE);
    CHECK(open_feed(client, "", now).ok());
    CHECK(now != incarnation);
    const std::string after = write_one(client, "t9", "2");
    WatchReader reader(client, "t9", after);
    write_one(client, "t9", "3");
    CHECK(reader.wait_for(1, 5s));
    engine.stop();
    print_logs_on_failure(folder.path());
  }
}
