// A tenant's life through headgate.v1.Feed of a real engine: created, written to, given schemas, removed and made
// again, with a stream that is there all the time and with one that was away.
#include "tests/support/engine_session.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/feed_reader.h"
#include "tests/support/world.h"

TEST_SUITE("integration/tenant_life") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using headgate::v1::SubscribeRequest;
  using headgate::v1::Transaction;

  SubscribeRequest all_tenants() {
    SubscribeRequest request;
    request.set_all_tenants(true);
    return request;
  }

  SubscribeRequest from(const std::string& tenant, const Transaction& last) {
    SubscribeRequest request;
    auto* position = request.add_positions();
    position->set_tenant_id(tenant);
    position->set_snap_token(last.snap_token());
    auto* identity = position->mutable_last();
    identity->set_tenant_id(tenant);
    identity->set_xid(last.xid());
    identity->set_started_at_us(last.started_at_us());
    return request;
  }

  void remove_tenant(EngineClient & client, const std::string& tenant) {
    grpc::ClientContext context;
    set_deadline(context);
    base::v1::TenantDeleteRequest request;
    base::v1::TenantDeleteResponse response;
    request.set_id(tenant);
    const grpc::Status status = client.stubs().tenancy->Delete(&context, request, &response);
    REQUIRE_MESSAGE(status.ok(), status.error_message());
  }

  void write(EngineClient & client, const std::string& tenant, const std::string& doc) {
    const WriteAnswer answer = client.write(tenant, {tuple_of("doc:" + doc + "#owner@user:a")});
    REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message());
  }

  TEST_CASE(
      "life: a stream of all tenants gets every event in its place, also of a tenant that is made again at once") {
    HG_WORLD(world, {.sinks = {}});
    EngineClient& client = world->client();
    FeedReader feed(client, all_tenants());
    WatchReader watch(client, "acme", "");
    REQUIRE(feed.wait_open(5s));
    REQUIRE(watch.wait_open(5s));
    client.create_tenant("acme", kSchema);
    write(client, "acme", "1");
    CHECK(feed.wait_for("acme", 3, 10s));
    remove_tenant(client, "acme");
    client.create_tenant("acme", kSchema);
    CHECK(feed.wait_for("acme", 6, 10s));
    write(client, "acme", "2");
    CHECK(feed.wait_for("acme", 7, 10s));
    CHECK(feed.text("acme") == "created schema write removed created schema write");
    const std::vector<Transaction> seen = feed.of("acme");
    CHECK(seen[1].schema_version().size() == 20);
    CHECK(seen[1].previous_schema_version().empty());
    CHECK(seen[5].previous_schema_version().empty());
    CHECK(seen[4].xid() > seen[3].xid());
    CHECK(seen[4].changes().empty());
    CHECK_FALSE(seen[3].late());
    CHECK(feed.notices().empty());
    // A client of base.v1 gets the writes, and no message for what it does not know.
    CHECK(watch.wait_for(2, 10s));
    CHECK(watch.count() == 2);
    // Whoever starts at the beginning of the second life sees all of it.
    SubscribeRequest earliest;
    earliest.add_positions()->set_tenant_id("acme");
    earliest.set_default_start(headgate::v1::START_POLICY_EARLIEST);
    FeedReader second(client, earliest);
    CHECK(second.wait_for("acme", 3, 10s));
    CHECK(second.text("acme") == "created schema write");
    CHECK(second.notices().empty());
  }

  TEST_CASE("life: removal and the whole next life reach a stream that was away, named and among all") {
    HG_WORLD(world, {.sinks = {}});
    EngineClient& client = world->client();
    Transaction last;
    std::string position;
    {
      FeedReader feed(client, all_tenants());
      REQUIRE(feed.wait_open(5s));
      client.create_tenant("acme", kSchema);
      write(client, "acme", "1");
      REQUIRE(feed.wait_for("acme", 3, 10s));
      last = feed.of("acme").back();
      REQUIRE(feed.wait_position(last.xid() + 1, 10s));
      position = feed.position_token();
    }
    write(client, "acme", "lost");
    remove_tenant(client, "acme");
    client.create_tenant("acme", kSchema);
    write(client, "acme", "2");
    const std::string expected = "removed created schema write";

    FeedReader named(client, from("acme", last));
    CHECK(wait_until([&] { return named.text("acme").ends_with(" created schema write"); }));
    CHECK((named.text("acme") == expected || named.text("acme") == "write " + expected));
    CHECK(named.notices().empty());
    SubscribeRequest unnamed = all_tenants();
    unnamed.set_default_snap_token(position);
    FeedReader among(client, unnamed);
    CHECK(among.wait_for("acme", 4, 10s));
    // What the first life wrote last may still be in the engine's memory.
    const auto is_expected = [&](const std::string& text) { return text == expected || text == "write " + expected; };
    const auto complete = [](const FeedReader& feed) { return feed.text("acme").ends_with(" created schema write"); };
    CHECK(wait_until([&] { return complete(among); }));
    CHECK(is_expected(among.text("acme")));
    CHECK(among.notices().empty());
    // Also from each of the events, and also when nothing but its token is known.
    const std::vector<Transaction> seen = named.of("acme");
    for (size_t i = 0; i + 1 < seen.size(); ++i) {
      CAPTURE(i);
      FeedReader resumed(client, from("acme", seen[i]));
      CHECK(resumed.wait_for("acme", seen.size() - i - 1, 10s));
      CHECK(resumed.of("acme").front().xid() == seen[i + 1].xid());
      CHECK(resumed.of("acme").back().xid() == seen.back().xid());
    }
    SubscribeRequest token_only = from("acme", last);
    token_only.mutable_positions(0)->clear_last();
    FeedReader by_token(client, token_only);
    CHECK(wait_until([&] { return complete(by_token); }));
    CHECK(is_expected(by_token.text("acme")));
  }

  TEST_CASE("life: a tenant that is gone for good is told to a stream that was away") {
    HG_WORLD(world, {.sinks = {}});
    EngineClient& client = world->client();
    Transaction last;
    {
      FeedReader feed(client, all_tenants());
      REQUIRE(feed.wait_open(5s));
      client.create_tenant("acme", kSchema);
      write(client, "acme", "1");
      REQUIRE(feed.wait_for("acme", 3, 10s));
      last = feed.of("acme").back();
    }
    remove_tenant(client, "acme");
    FeedReader named(client, from("acme", last));
    CHECK(named.wait_for("acme", 1, 10s));
    CHECK(named.text("acme") == "removed");
    CHECK(named.notices().empty());
  }

  // By the statements of Permify, which writes no record of lives.
  void permify_creates(EngineSession & sql, const std::string& tenant) {
    sql.run("INSERT INTO tenants (id, name) VALUES ('" + tenant + "', '')");
    sql.run("INSERT INTO schema_definitions (tenant_id, name, version, serialized_definition) VALUES ('" + tenant +
            "', 'user', '00000000000000000001', 'entity user {}')");
  }
  void permify_removes(EngineSession & sql, const std::string& tenant) {
    sql.run("BEGIN");
    for (const char* table : {"bundles", "relation_tuples", "attributes", "schema_definitions", "transactions"}) {
      sql.run(std::string("DELETE FROM ") + table + " WHERE tenant_id = '" + tenant + "'");
    }
    sql.run("DELETE FROM tenants WHERE id = '" + tenant + "'");
    sql.run("COMMIT");
  }

  TEST_CASE("life: what a Permify on the same tables does is told late, once, also to a stream that was away") {
    HG_WORLD(world, {.sinks = {}});
    EngineClient& client = world->client();
    EngineSession sql(world->database_uri());
    Transaction last;
    {
      FeedReader feed(client, all_tenants());
      REQUIRE(feed.wait_open(5s));
      permify_creates(sql, "other");
      CHECK(feed.wait_for("other", 2, 30s));
      sql.write("other", "1");
      REQUIRE(feed.wait_for("other", 3, 10s));
      CHECK(feed.text("other") == "late-created late-schema write");
      last = feed.of("other").back();
    }
    permify_removes(sql, "other");
    FeedReader away(client, from("other", last));
    CHECK(away.wait_for("other", 1, 30s));
    CHECK(away.text("other") == "late-removed");
    CHECK(away.notices().empty());
    // Made again by us: our record knows its place, and nothing is told twice.
    client.create_tenant("other", kSchema);
    CHECK(away.wait_for("other", 3, 10s));
    CHECK(away.text("other") == "late-removed created schema");
  }
}
