// The engine as a program: start, probes, authentication, limits, a database that goes away, and its end.
#include <atomic>
#include <filesystem>
#include <pqxx/pqxx>
#include <set>
#include <sstream>
#include <thread>

#include "base/v1/service.grpc.pb.h"
#include "tests/integration/engine_process.h"
#include "tests/integration/raw_calls.h"
#include "tests/support/postgres.h"
#include "tests/support/silent_server.h"

namespace headgate::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kSmallSchema = "entity user {}\nentity doc {\n  relation viewer @user\n}\n";

// One client of an engine; every method is one call.
class Client {
 public:
  explicit Client(const std::shared_ptr<grpc::Channel>& channel, std::string key = "")
      : channel_(channel), key_(std::move(key)) {}

  grpc::Status create(const std::string& id, std::chrono::milliseconds limit = 10s) {
    base::v1::TenantCreateRequest request;
    base::v1::TenantCreateResponse response;
    request.set_id(id);
    grpc::ClientContext context;
    prepare(context, limit);
    return base::v1::Tenancy::NewStub(channel_)->Create(&context, request, &response);
  }

  grpc::Status list(uint32_t page_size, base::v1::TenantListResponse& response) {
    base::v1::TenantListRequest request;
    request.set_page_size(page_size);
    grpc::ClientContext context;
    prepare(context, 10s);
    return base::v1::Tenancy::NewStub(channel_)->List(&context, request, &response);
  }

  grpc::Status write_schema(const std::string& tenant, const std::string& schema) {
    base::v1::SchemaWriteRequest request;
    base::v1::SchemaWriteResponse response;
    request.set_tenant_id(tenant);
    request.set_schema(schema);
    grpc::ClientContext context;
    prepare(context, 10s);
    return base::v1::Schema::NewStub(channel_)->Write(&context, request, &response);
  }

  grpc::Status add_relation(const std::string& tenant, const std::string& statement) {
    base::v1::SchemaPartialWriteRequest request;
    base::v1::SchemaPartialWriteResponse response;
    request.set_tenant_id(tenant);
    request.mutable_metadata();
    (*request.mutable_partials())["doc"].add_write(statement);
    grpc::ClientContext context;
    prepare(context, 20s);
    return base::v1::Schema::NewStub(channel_)->PartialWrite(&context, request, &response);
  }

  base::v1::SchemaDefinition schema(const std::string& tenant) {
    base::v1::SchemaReadRequest request;
    base::v1::SchemaReadResponse response;
    request.set_tenant_id(tenant);
    request.mutable_metadata();
    grpc::ClientContext context;
    prepare(context, 10s);
    CHECK(base::v1::Schema::NewStub(channel_)->Read(&context, request, &response).ok());
    return response.schema();
  }

  grpc::Status write_tuple(const std::string& tenant, const std::string& id) {
    base::v1::DataWriteRequest request;
    base::v1::DataWriteResponse response;
    request.set_tenant_id(tenant);
    request.mutable_metadata();
    base::v1::Tuple& tuple = *request.add_tuples();
    tuple.mutable_entity()->set_type("doc");
    tuple.mutable_entity()->set_id(id);
    tuple.set_relation("viewer");
    tuple.mutable_subject()->set_type("user");
    tuple.mutable_subject()->set_id("a");
    grpc::ClientContext context;
    prepare(context, 10s);
    return base::v1::Data::NewStub(channel_)->Write(&context, request, &response);
  }

  grpc::Status read(const std::string& tenant, uint32_t page_size, base::v1::RelationshipReadResponse& response) {
    base::v1::RelationshipReadRequest request;
    request.set_tenant_id(tenant);
    request.mutable_metadata();
    request.mutable_filter();
    request.set_page_size(page_size);
    grpc::ClientContext context;
    prepare(context, 10s);
    return base::v1::Data::NewStub(channel_)->ReadRelationships(&context, request, &response);
  }

 private:
  void prepare(grpc::ClientContext& context, std::chrono::milliseconds limit) {
    context.set_deadline(std::chrono::system_clock::now() + limit);
    if (!key_.empty()) context.AddMetadata("authorization", key_);
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::string key_;
};

int run_engine(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& env,
               std::string& output) {
  const TempFolder folder;
  Process::Options options;
  options.argv = {HEADGATE_ENGINE_BINARY};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.env = env;
  options.log_file = folder.path() + "/log";
  Process process(options);
  CHECK(process.wait(10s));
  output = read_file(options.log_file);
  return process.exit_code();
}

// A certificate of "localhost" that signs itself. False when there is no openssl program.
bool make_certificate(const std::string& certificate, const std::string& key) {
  Process openssl(
      {.argv = {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate}});
  return openssl.wait(20s) && openssl.exit_code() == 0;
}

// Nobody gets into `database` any more, as if its server were away. The other one is where the order is given.
void close_database(const PostgresDatabase& database, const PostgresDatabase& other) {
  other.execute("ALTER DATABASE \"" + database.name() + "\" ALLOW_CONNECTIONS false");
  other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database.name() + "'");
}

// `uri` with a password, of which the servers of the tests take no notice.
std::string with_password(std::string uri, const std::string& password) {
  const size_t user = uri.find("://") + 3;
  const size_t at = uri.find('@', user);
  const size_t end = std::min(uri.find(':', user), at);
  return uri.replace(end, at - end, ":" + password);
}

void open_database(const PostgresDatabase& database, const PostgresDatabase& other) {
  other.execute("ALTER DATABASE \"" + database.name() + "\" ALLOW_CONNECTIONS true");
}

}  // namespace

TEST_SUITE("integration/engine") {
  TEST_CASE("engine: it is ready within a second on an existing database and ends with 0 on SIGTERM") {
    HG_POSTGRES(database);
    { EngineProcess first({.database_uri = database->uri()}); }
    const auto begin = Clock::now();
    EngineProcess engine({.database_uri = database->uri()});
    CHECK(Clock::now() - begin < 1s);
    CHECK(engine.get("/livez").status == 200);
    CHECK(engine.get("/startupz").status == 200);
    CHECK(engine.get("/status").body.find("\"ready\": true") != std::string::npos);
    CHECK(Client(engine.channel()).create("t2").ok());
    CHECK(engine.get("/metrics").body.find("headgate_engine_rpc_total{code=\"OK\",method=\"Tenancy.Create\"} 1") !=
          std::string::npos);
    engine.process().signal(SIGTERM);
    CHECK(engine.process().wait(10s));
    CHECK(engine.process().exit_code() == 0);
  }

  TEST_CASE("engine: a database that is away at the start is waited for") {
    HG_POSTGRES(database);
    HG_POSTGRES(other);
    close_database(*database, *other);
    const std::string uri = with_password(database->uri(), "hunter2");
    EngineProcess engine({.database_uri = uri, .wait_until_ready = false});
    CHECK(wait_until([&] { return engine.log().find("database_away") != std::string::npos; }));
    CHECK(engine.get("/livez").status == 200);
    CHECK(engine.get("/startupz").status == 503);
    CHECK(engine.get("/readyz").status == 503);
    CHECK(engine.log().find("is not currently accepting connections") != std::string::npos);
    CHECK(engine.log().find("hunter2") == std::string::npos);
    open_database(*database, *other);
    CHECK(wait_until([&] { return engine.get("/readyz").status == 200; }));
    CHECK(engine.listening());
    CHECK(Client(engine.channel()).create("t2").ok());
  }

  TEST_CASE("engine: SIGTERM ends it while it waits for its database") {
    EngineProcess engine({.database_uri = "postgres://127.0.0.1:1/none", .wait_until_ready = false});
    REQUIRE(wait_until([&] { return engine.log().find("database_away") != std::string::npos; }));
    engine.process().signal(SIGTERM);
    CHECK(engine.process().wait(5s));
    CHECK(engine.process().exit_code() == 0);
  }

  TEST_CASE("engine: health follows the database, calls meanwhile fail with the codes that clients know") {
    HG_POSTGRES(database);
    HG_POSTGRES(other);
    EngineProcess engine({.database_uri = database->uri()});
    const auto channel = engine.channel();
    CHECK(health_of(channel, "") == "SERVING");
    CHECK(health_of(channel, "base.v1.Data") == "SERVING");
    CHECK(health_of(channel, "base.v1.Nothing") == "NOT_FOUND");

    close_database(*database, *other);
    const auto lost = Clock::now();
    CHECK(wait_until([&] { return health_of(channel, "base.v1.Data") == "NOT_SERVING"; }));
    CHECK(Clock::now() - lost < 2s);
    CHECK(health_of(channel, "") == "NOT_SERVING");
    CHECK(engine.get("/readyz").status == 503);
    const grpc::Status away = Client(channel).create("t2");
    CHECK(away.error_code() == grpc::StatusCode::INTERNAL);
    CHECK(away.error_message() == "ERROR_CODE_EXECUTION");
    CHECK(Client(channel).write_tuple("t1", "1").error_message() == "ERROR_CODE_SCAN");

    open_database(*database, *other);
    CHECK(wait_until([&] { return health_of(channel, "") == "SERVING"; }));
    CHECK(Client(channel).create("t2").ok());
    CHECK(engine.process().running());
  }

  TEST_CASE("engine: a database that hangs without closing its connections counts as away") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri()});
    std::istringstream pids(database->execute(
        "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = '" +
        database->name() + "'"));
    std::vector<pid_t> backends;
    for (pid_t pid = 0; pids >> pid;) backends.push_back(pid);
    REQUIRE_FALSE(backends.empty());
    for (const pid_t pid : backends) {
      if (kill(pid, SIGSTOP) != 0) HG_SKIP("this user may not stop the server's processes");
    }
    const auto hung = Clock::now();
    CHECK(wait_until([&] { return health_of(engine.channel(), "") == "NOT_SERVING"; }));
    CHECK(Clock::now() - hung < 2500ms);
    CHECK(engine.get("/readyz").body == "the database does not answer\n");
    for (const pid_t pid : backends) kill(pid, SIGCONT);
    CHECK(wait_until([&] { return health_of(engine.channel(), "") == "SERVING"; }));
  }

  TEST_CASE("engine: reflection lists the services") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri()});
    const std::string services = reflected_services(engine.channel());
    for (const char* name : {"base.v1.Tenancy", "base.v1.Schema", "base.v1.Data", "base.v1.Bundle",
                             "base.v1.Permission", "base.v1.Watch", "grpc.health.v1.Health"}) {
      CAPTURE(name);
      CHECK(services.find(name) != std::string::npos);
    }
  }

  TEST_CASE("engine: roles decide which services there are") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri(), .env = {{"HEADGATE_ENGINE_ROLES", "check"}}});
    CHECK(Client(engine.channel()).create("t2").error_code() == grpc::StatusCode::UNIMPLEMENTED);
    CHECK(health_of(engine.channel(), "base.v1.Permission") == "SERVING");
    CHECK(health_of(engine.channel(), "base.v1.Data") == "NOT_FOUND");
  }

  TEST_CASE("engine: with preshared keys only their owners are served, after validation") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri(),
                          .env = {{"HEADGATE_ENGINE_AUTHN_METHOD", "preshared"},
                                  {"HEADGATE_ENGINE_AUTHN_KEYS", "first-key,second-key"}}});
    const auto channel = engine.channel();
    CHECK(Client(channel).create("t2").error_code() == grpc::StatusCode::UNAUTHENTICATED);
    CHECK(Client(channel).create("t2").error_message() == "ERROR_CODE_MISSING_BEARER_TOKEN");
    CHECK(Client(channel, "first-key").create("t2").error_message() == "ERROR_CODE_MISSING_BEARER_TOKEN");
    CHECK(Client(channel, "Bearer other").create("t2").error_message() == "ERROR_CODE_INVALID_KEY");
    CHECK(Client(channel, "Bearer other").create("t2").error_code() == grpc::StatusCode::UNAUTHENTICATED);
    CHECK(Client(channel, "Bearer ").create("t2").error_message() == "ERROR_CODE_INVALID_KEY");
    CHECK(Client(channel).create("").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(Client(channel, "Bearer first-key").create("t2").ok());
    CHECK(Client(channel, "bearer second-key").create("t3").ok());
    CHECK(health_of(channel, "") == "SERVING");
    CHECK(engine.log().find("first-key") == std::string::npos);
  }

  TEST_CASE("engine: streams obey field rules and authentication, and end with UNAVAILABLE at the shutdown") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri(),
                          .env = {{"HEADGATE_ENGINE_AUTHN_METHOD", "preshared"},
                                  {"HEADGATE_ENGINE_AUTHN_KEYS", "key"},
                                  {"HEADGATE_ENGINE_SERVER_DRAIN_WINDOW", "100ms"}}});
    const auto stub = base::v1::Watch::NewStub(engine.channel());
    const auto end_of = [&](const std::string& tenant, const std::string& authorization) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + 20s);
      if (!authorization.empty()) context.AddMetadata("authorization", authorization);
      base::v1::WatchRequest request;
      request.set_tenant_id(tenant);
      base::v1::WatchResponse response;
      const auto reader = stub->Watch(&context, request);
      while (reader->Read(&response)) {
      }
      return reader->Finish();
    };
    CHECK(end_of("t1", "").error_message() == "ERROR_CODE_MISSING_BEARER_TOKEN");
    CHECK(end_of("t1", "Bearer no").error_code() == grpc::StatusCode::UNAUTHENTICATED);
    CHECK(end_of("", "Bearer key").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    grpc::Status last;
    std::jthread reader([&] { last = end_of("t1", "Bearer key"); });
    REQUIRE(wait_until([&] {
      return engine.get("/metrics").body.find("headgate_engine_watch_streams{service=\"watch\"} 1") !=
             std::string::npos;
    }));
    engine.process().signal(SIGTERM);
    CHECK(engine.process().wait(10s));
    CHECK(engine.process().exit_code() == 0);
    reader.join();
    CHECK(last.error_code() == grpc::StatusCode::UNAVAILABLE);
  }

  TEST_CASE("engine: the names of its metrics are those of the list") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri()});
    REQUIRE(Client(engine.channel()).create("t2").ok());
    std::set<std::string> lines;
    std::istringstream text(engine.get("/metrics").body);
    for (std::string line; std::getline(text, line);) {
      if (line.rfind("# TYPE ", 0) == 0) lines.insert(line.substr(7));
    }
    std::string names;
    for (const std::string& line : lines) names += line + "\n";
    CHECK(names == read_file(HEADGATE_SOURCE_DIR "/tests/cases/engine_metrics.txt"));
  }

  TEST_CASE("engine: page sizes have a default and a bound") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri(), .env = {{"HEADGATE_ENGINE_LIMITS_PAGE_SIZE_MAX", "60"}}});
    Client client(engine.channel());
    for (int i = 0; i < 70; ++i) REQUIRE(client.create("page" + std::to_string(i)).ok());
    base::v1::TenantListResponse page;
    CHECK(client.list(0, page).ok());
    CHECK(page.tenants_size() == 50);
    CHECK(client.list(4'294'967'295u, page).ok());
    CHECK(page.tenants_size() == 60);
    CHECK_FALSE(page.continuous_token().empty());
    base::v1::RelationshipReadResponse tuples;
    CHECK(client.read("t1", 4'294'967'294u, tuples).ok());
    CHECK(tuples.tuples_size() == 0);
  }

  TEST_CASE("engine: partial writes of a schema at the same time are all kept") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri()});
    REQUIRE(Client(engine.channel()).write_schema("t1", kSmallSchema).ok());
    std::atomic<int> written{0};
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&, i] {
          const std::string name = std::string("extra_") + static_cast<char>('a' + i);
          if (Client(engine.channel()).add_relation("t1", "relation " + name + " @user").ok()) ++written;
        });
      }
    }
    CHECK(written == 6);
    CHECK(Client(engine.channel()).schema("t1").entity_definitions().at("doc").relations_size() == 7);
  }

  TEST_CASE("engine: a full line refuses calls, and one whose deadline passed is not started") {
    HG_POSTGRES(database);
    EngineProcess engine(
        {.database_uri = database->uri(),
         .env = {{"HEADGATE_ENGINE_SERVER_WORKERS", "1"}, {"HEADGATE_ENGINE_SERVER_WAITING_MAX", "2"}}});
    const auto channel = engine.channel();
    pqxx::connection blocker(database->uri());
    pqxx::work lock(blocker);
    lock.exec("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE");
    std::atomic<int> full{0};
    std::atomic<int> done{0};
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { Client(channel).create("first"); });
    REQUIRE(wait_until([&] { return engine.get("/status").body.find("\"running\": 1") != std::string::npos; }));
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&, i] {
        const grpc::Status status = Client(channel).create("late" + std::to_string(i), 1s);
        if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++full;
        ++done;
      });
    }
    CHECK(wait_until([&] { return done == 6; }));
    CHECK(full == 4);
    lock.commit();
    threads.clear();
    CHECK(wait_until([&] { return engine.get("/status").body.find("\"waiting\": 0") != std::string::npos; }));
    CHECK(wait_until([&] { return engine.get("/status").body.find("\"running\": 0") != std::string::npos; }));
    CHECK(database->execute("SELECT count(*) FROM tenants WHERE id = 'first'") == "1");
    CHECK(database->execute("SELECT count(*) FROM tenants WHERE id LIKE 'late%'") == "0");
  }

  TEST_CASE("engine: it serves TLS with certificates from files") {
    HG_POSTGRES(database);
    const TempFolder folder;
    const std::string certificate = folder.path() + "/cert.pem";
    const std::string key = folder.path() + "/key.pem";
    if (!make_certificate(certificate, key)) HG_SKIP("no openssl program to make a certificate with");
    EngineProcess engine({.database_uri = database->uri(),
                          .env = {{"HEADGATE_ENGINE_TLS_CERTIFICATE", certificate}, {"HEADGATE_ENGINE_TLS_KEY", key}}});
    const auto credentials = grpc::SslCredentials({read_file(certificate), "", ""});
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    const std::string target = "127.0.0.1:" + std::to_string(engine.grpc_port());
    CHECK(Client(grpc::CreateCustomChannel(target, credentials, arguments)).create("t2").ok());
    CHECK(Client(engine.channel()).create("t3", 2s).error_code() != grpc::StatusCode::OK);
  }

  TEST_CASE("engine: SIGHUP takes the keys in a file over, and with faults nothing") {
    HG_POSTGRES(database);
    const TempFolder folder;
    const std::string keys = folder.path() + "/keys";
    write_file(keys, "one\n");
    EngineProcess engine(
        {.database_uri = database->uri(),
         .env = {{"HEADGATE_ENGINE_AUTHN_METHOD", "preshared"}, {"HEADGATE_ENGINE_AUTHN_KEYS_FILE", keys}}});
    const auto accepted = [&](const std::string& key) {
      base::v1::TenantListResponse response;
      return Client(engine.channel(), "Bearer " + key).list(10, response).ok();
    };
    CHECK(accepted("one"));
    CHECK_FALSE(accepted("two"));
    write_file(keys, "two\nthree\n");
    engine.process().signal(SIGHUP);
    CHECK(wait_until([&] { return accepted("two") && accepted("three") && !accepted("one"); }));
    std::filesystem::remove(keys);
    engine.process().signal(SIGHUP);
    CHECK(wait_until([&] { return engine.log().find("reload_refused") != std::string::npos; }));
    CHECK(accepted("two"));
  }

  TEST_CASE("engine: a start behind a database that never answers ends when it is told to") {
    const SilentServer silent;
    const TempFolder folder;
    const std::string log = folder.path() + "/log";
    Process engine(
        {.argv = {HEADGATE_ENGINE_BINARY},
         .env = {{"HEADGATE_ENGINE_DATABASE_URI", "postgres://u@127.0.0.1:" + std::to_string(silent.port()) + "/d"},
                 {"HEADGATE_ENGINE_DATABASE_CONNECT_TIMEOUT", "1s"},
                 {"HEADGATE_ENGINE_SERVER_PORT", "0"},
                 {"HEADGATE_ENGINE_ADMIN_PORT", "0"}},
         .log_file = log});
    CHECK(wait_until([&] { return read_file(log).find("does not answer within 1000 ms") != std::string::npos; }));
    engine.signal(SIGTERM);
    CHECK(engine.wait(5s));
    CHECK(engine.exit_code() == 0);
  }

  TEST_CASE("engine: an address in use and wrong settings end the start with a reason") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri()});
    std::string output;
    const std::map<std::string, std::string> taken = {
        {"HEADGATE_ENGINE_DATABASE_URI", database->uri()},
        {"HEADGATE_ENGINE_SERVER_ADDRESS", "127.0.0.1"},
        {"HEADGATE_ENGINE_SERVER_PORT", std::to_string(engine.grpc_port())},
        {"HEADGATE_ENGINE_ADMIN_PORT", "0"}};
    CHECK(run_engine({}, taken, output) == 1);
    CHECK(output.find("cannot bind 127.0.0.1") != std::string::npos);
    const std::map<std::string, std::string> wrong = {{"HEADGATE_ENGINE_ROLES", "write,sing"},
                                                      {"HEADGATE_ENGINE_SERVER_PORT", "x"}};
    CHECK(run_engine({"--check-config"}, wrong, output) == 2);
    CHECK(output.find("database.uri must be set") != std::string::npos);
    CHECK(output.find("'sing'") != std::string::npos);
    CHECK(output.find("server.port: 'x' is not a whole number") != std::string::npos);
    CHECK(run_engine({"--print-config"}, {{"HEADGATE_ENGINE_DATABASE_URI", "postgres://u:hunter2@h/d"}}, output) == 0);
    CHECK(output.find("hunter2") == std::string::npos);
    CHECK(run_engine({"--no-such-option"}, {}, output) == 64);
    CHECK(output.find("--no-such-option") != std::string::npos);
    CHECK(run_engine({"--version"}, {}, output) == 0);
    CHECK(output.find("headgate-engine 0.") != std::string::npos);
  }
}

}  // namespace headgate::testing
