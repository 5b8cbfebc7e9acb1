#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "relay/tokens/memory_store.h"
#include "relay/tokens/token_store_contract.h"
#include "tests/support/postgres.h"
#include "tests/support/process.h"

namespace headgate::relay::testing {

using headgate::testing::free_port;
using headgate::testing::PostgresDatabase;
using headgate::testing::Process;
using headgate::testing::TempFolder;
using headgate::testing::wait_until;

TEST_SUITE_BEGIN("relay/tokens");

struct SqliteBackend {
  TempFolder folder;
  const char* missing() const { return nullptr; }
  std::string path() const { return folder.path() + "/tokens.db"; }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) { return make_sqlite_store(scope, {path()}); }
};

struct PostgresBackend {
  std::unique_ptr<PostgresDatabase> database = PostgresDatabase::create();
  const char* missing() const { return database ? nullptr : "no PostgreSQL server binaries on this machine"; }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) {
    headgate::testing::used_server("postgresql");
    return make_postgres_store(scope, {.uri = database->uri()});
  }
};

// A private redis-server that keeps its data over the life of the object only.
struct RedisBackend {
  TempFolder folder;
  int port = free_port();
  std::unique_ptr<Process> server;
  std::string password;
  bool installed = access("/usr/bin/redis-server", X_OK) == 0;

  RedisBackend() {
    if (installed) start({});
  }
  void start(std::vector<std::string> more) {
    std::vector<std::string> argv{"redis-server", "--port", std::to_string(port), "--save", "", "--dir", folder.path()};
    argv.insert(argv.end(), more.begin(), more.end());
    server = std::make_unique<Process>(Process::Options{.argv = argv, .log_file = folder.path() + "/log"});
    if (!wait_until([&] { return open("probe").ok(); })) throw std::runtime_error("redis-server does not answer");
    headgate::testing::used_server("redis");
  }
  const char* missing() const { return installed ? nullptr : "no redis-server on this machine"; }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) {
    return make_redis_store(scope, {.port = port, .password = password, .timeout = Duration(2000)});
  }
};

TEST_CASE_TEMPLATE_INVOKE(token_store_contract, SqliteBackend, PostgresBackend, RedisBackend);

TEST_CASE("sqlite store: a second relay is told that the file is locked") {
  SqliteBackend backend;
  auto first = backend.open("main");
  REQUIRE(first.ok());
  auto second = backend.open("main");
  CHECK(second.status().code() == StatusCode::kFailedPrecondition);
  CHECK(message_of(second.status()).find("locked by another relay") != std::string::npos);
  first->reset();
  CHECK(backend.open("main").ok());
}

TEST_CASE("sqlite store: a missing folder is named") {
  auto store = make_sqlite_store("main", {"/nonexistent-folder/tokens.db"});
  CHECK(store.status().code() == StatusCode::kUnavailable);
  CHECK(message_of(store.status()).find("/nonexistent-folder/tokens.db") != std::string::npos);
}

TEST_CASE("sqlite store: a full disk refuses the commit and keeps what was committed") {
  SqliteBackend backend;
  std::unique_ptr<TokenStore> store = std::move(backend.open("main").value());
  const Fence fence = store->acquire("pod").value();
  const std::vector<CursorUpdate> small{update_of("t1", 5, 1)};
  REQUIRE(store->commit("kafka", small, fence).ok());
  std::vector<CursorUpdate> large;
  for (int i = 0; i < 5000; ++i) large.push_back(update_of(fmt::format("tenant-{}", i), i, 1));
  // The limit of the file size stands in for the disk: writing beyond it fails with EFBIG.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{64 * 1024, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  const Status refused = store->commit("kafka", large, fence);
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK_FALSE(refused.ok());
  CHECK(reaction_to(refused) == Reaction::kRetry);
  CHECK(store->load("kafka").value().size() == 1);
  CHECK(store->commit("kafka", large, fence).ok());
  CHECK(store->load("kafka").value().size() == 5001);
}

TEST_CASE("postgres store: a broken connection is UNAVAILABLE once and then replaced") {
  PostgresBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  std::unique_ptr<TokenStore> store = std::move(backend.open("main").value());
  const Fence fence = store->acquire("pod").value();
  const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
  backend.database->disconnect_all();
  CHECK(store->commit("kafka", updates, fence).code() == StatusCode::kUnavailable);
  CHECK(store->commit("kafka", updates, fence).ok());
  CHECK(store->load("kafka").value().size() == 1);
}

TEST_CASE("postgres store: a server that is away is UNAVAILABLE and the uri stays secret") {
  auto store = make_postgres_store("main", {.uri = fmt::format("postgres://u:hush@127.0.0.1:{}/d", free_port())});
  CHECK(store.status().code() == StatusCode::kUnavailable);
  CHECK(message_of(store.status()).find("hush") == std::string::npos);
}

TEST_CASE("redis store: a restart of the server is UNAVAILABLE once and then forgotten") {
  RedisBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  std::unique_ptr<TokenStore> store = std::move(backend.open("main").value());
  REQUIRE(store->acquire("pod").ok());
  backend.server->kill();
  CHECK(store->load("kafka").status().code() == StatusCode::kUnavailable);
  CHECK(store->ping().code() == StatusCode::kUnavailable);
  backend.start({});
  CHECK(store->load("kafka").ok());
}

TEST_CASE("redis store: a server that wants a password is told apart from one that is away") {
  RedisBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  backend.password = "hush";
  backend.server->kill();
  backend.start({"--requirepass", "hush"});
  CHECK(backend.open("main").ok());
  backend.password = "wrong";
  CHECK(backend.open("main").status().code() == StatusCode::kPermissionDenied);
}

TEST_CASE("redis store: a server without memory is RESOURCE_EXHAUSTED") {
  RedisBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  std::unique_ptr<TokenStore> store = std::move(backend.open("main").value());
  const Fence fence = store->acquire("pod").value();
  Process::Options tighten{
      .argv = {"redis-cli", "-p", std::to_string(backend.port), "CONFIG", "SET", "maxmemory", "1"}};
  REQUIRE(Process(tighten).wait(std::chrono::seconds(5)));
  const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
  CHECK(store->commit("kafka", updates, fence).code() == StatusCode::kResourceExhausted);
  CHECK(store->ping().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("make_token_store: refuses a store without a name") {
  CHECK(make_token_store({.kind = TokenStoreKind::kMemory, .scope = ""}).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(make_token_store({.kind = TokenStoreKind::kMemory}).ok());
}

TEST_SUITE_END();

}  // namespace headgate::relay::testing
