#include <sys/resource.h>

#include <csignal>
#include <iterator>
#include <pqxx/pqxx>
#include <sstream>

#include "relay/tokens/backends_fixture.h"
#include "relay/tokens/memory_store.h"
#include "tests/support/document.h"
#include "tests/support/silent_server.h"

namespace headgate::relay::testing {

TEST_SUITE_BEGIN("relay/tokens");

TEST_CASE_TEMPLATE_INVOKE(token_store_contract, SqliteBackend, PostgresBackend, RedisBackend);

TEST_CASE("sqlite store: a second relay is told that the file is locked") {
  SqliteBackend backend;
  auto first = backend.open("main");
  REQUIRE(first.ok());
  auto second = backend.open("main");
  CHECK(second.status().code() == StatusCode::kUnavailable);
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

// What stands in the file is noticed by the next commit, whatever it was that put it there.
struct Tampering {
  SqliteBackend backend;
  std::unique_ptr<TokenStore> store = std::move(backend.open("main").value());
  Fence fence = store->acquire("pod").value();
  const std::vector<CursorUpdate> first{update_of("t1", 5, 1), update_of("t2", 5, 1)};
  const std::vector<CursorUpdate> second{update_of("t1", 9, 2)};

  Tampering() { REQUIRE(store->commit("kafka", first, fence).ok()); }

  // Name parts of files that were moved out of the way.
  int set_aside(const std::string& why) const {
    int found = 0;
    for (const auto& entry : std::filesystem::directory_iterator(backend.folder.path())) {
      found += entry.path().filename().string().find("." + why + "-") != std::string::npos ? 1 : 0;
    }
    return found;
  }
  bool restart_and_commit() {
    store.reset();
    store = std::move(backend.open("main").value());
    fence = store->acquire("pod").value();
    return store->commit("kafka", second, fence).ok();
  }
  std::map<std::string, Cursor> after_restart() {
    store.reset();
    return backend.open("main").value()->load("kafka").value();
  }
};

TEST_CASE("sqlite store: a file that is deleted while it is open is put back with all that it held") {
  Tampering t;
  std::filesystem::remove(t.backend.path());
  SUBCASE("the file alone") {}
  SUBCASE("with its log") { std::filesystem::remove(t.backend.path() + "-wal"); }
  SUBCASE("and the relay has to open the copy of the copy") {
    REQUIRE(t.store->commit("kafka", t.first, t.fence).ok());
    std::filesystem::remove(t.backend.path());
  }
  CHECK(t.store->commit("kafka", t.second, t.fence).ok());
  CHECK(t.store->commit("redis", t.first, t.fence).ok());
  const auto cursors = t.after_restart();
  CHECK(cursors.at("t1").xid == 9);
  CHECK(cursors.at("t2").xid == 5);
}

TEST_CASE("sqlite store: a log that is deleted while it is open costs nothing either") {
  Tampering t;
  std::filesystem::remove(t.backend.path() + "-wal");
  CHECK(t.store->commit("kafka", t.second, t.fence).ok());
  // As a kill would leave it: what is on the disk is all.
  const std::string copy = t.backend.folder.path() + "/copy.db";
  std::filesystem::copy_file(t.backend.path(), copy);
  std::filesystem::copy_file(t.backend.path() + "-wal", copy + "-wal");
  auto killed = make_sqlite_store("main", {copy}).value();
  CHECK(killed->load("kafka").value().at("t1").xid == 9);
  CHECK(killed->load("kafka").value().at("t2").xid == 5);
}

TEST_CASE("sqlite store: a file in its place is moved aside, and all that the relay held stands there again") {
  Tampering t;
  const std::string other = t.backend.folder.path() + "/other.db";
  SUBCASE("of another relay") {
    auto elsewhere = make_sqlite_store("main", {other}).value();
    REQUIRE(elsewhere->acquire("pod-2").ok());
  }
  SUBCASE("that is no database") { write_file(other, "hello"); }
  std::filesystem::rename(other, t.backend.path());
  CHECK(t.store->commit("kafka", t.second, t.fence).ok());
  CHECK(t.set_aside("replaced") == 1);
  CHECK(t.after_restart().at("t2").xid == 5);
}

TEST_CASE("sqlite store: while another relay holds the file in its place, commits wait and say so") {
  Tampering t;
  std::filesystem::remove(t.backend.path());
  std::filesystem::remove(t.backend.path() + "-wal");
  // Locks are of processes: only another one can hold the file against us.
  const std::string log = t.backend.folder.path() + "/log";
  Process holder({.argv = {"python3", "-c",
                           "import sqlite3,sys,time\n"
                           "c=sqlite3.connect(sys.argv[1],isolation_level=None)\n"
                           "c.execute('PRAGMA locking_mode=EXCLUSIVE')\n"
                           "c.execute('CREATE TABLE t (a)')\n"
                           "c.execute('BEGIN EXCLUSIVE')\n"
                           "print('held',flush=True)\n"
                           "time.sleep(60)\n",
                           t.backend.path()},
                  .log_file = log});
  REQUIRE(wait_until([&] { return read_file(log).find("held") != std::string::npos; }));
  const Status refused = t.store->commit("kafka", t.second, t.fence);
  CHECK(refused.code() == StatusCode::kUnavailable);
  CHECK(message_of(refused).find("another relay holds the new file") != std::string::npos);
  holder.kill();
  CHECK(t.store->commit("kafka", t.second, t.fence).ok());
  CHECK(t.after_restart().at("t1").xid == 9);
}

TEST_CASE("sqlite store: a folder that is gone is UNAVAILABLE until it is back, and nothing is lost") {
  Tampering t;
  const std::string away = t.backend.folder.path() + "-away";
  std::filesystem::rename(t.backend.folder.path(), away);
  const Status refused = t.store->commit("kafka", t.second, t.fence);
  CHECK(refused.code() == StatusCode::kUnavailable);
  CHECK(message_of(refused).find("deleted or replaced while it was open") != std::string::npos);
  std::filesystem::create_directory(t.backend.folder.path());
  CHECK(t.store->commit("kafka", t.second, t.fence).ok());
  std::filesystem::remove_all(away);
  CHECK(t.after_restart().at("t2").xid == 5);
}

TEST_CASE("sqlite store: an older copy written over the file is told, moved aside, and every sink commits anew") {
  Tampering t;
  const std::string path = t.backend.path();
  const std::string older = read_file(path);
  const std::string older_log = read_file(path + "-wal");
  SUBCASE("the file") {
    REQUIRE(t.restart_and_commit());
    write_file(path, older);
  }
  SUBCASE("the log") {
    REQUIRE(t.store->commit("kafka", t.second, t.fence).ok());
    write_file(path + "-wal", older_log);
  }
  SUBCASE("both") {
    REQUIRE(t.restart_and_commit());
    write_file(path, older);
    write_file(path + "-wal", older_log);
  }
  const Status told = t.store->commit("kafka", t.second, t.fence);
  CHECK(told.code() == StatusCode::kDataLoss);
  CHECK(t.set_aside("overwritten") == 1);
  CHECK(t.store->commit("kafka", t.second, t.fence).ok());
  CHECK(t.store->commit("redis", t.first, t.fence).code() == StatusCode::kDataLoss);
  CHECK(t.store->commit("redis", t.first, t.fence).ok());
  const auto cursors = t.after_restart();
  CHECK(cursors.size() == 1);
  CHECK(cursors.at("t1").xid == 9);
}

TEST_CASE("sqlite store: a damaged file is told at the start, with what to do") {
  Tampering t;
  std::vector<CursorUpdate> many;
  for (int i = 0; i < 3000; ++i) many.push_back(update_of(fmt::format("tenant-{}", i), i, 1));
  REQUIRE(t.store->commit("kafka", many, t.fence).ok());
  t.store.reset();
  std::string text = read_file(t.backend.path());
  text.replace(text.size() / 2, 8192, std::string(8192, 'x'));
  write_file(t.backend.path(), text);
  const Status told = t.backend.open("main").status();
  CHECK(told.code() == StatusCode::kUnavailable);
  CHECK_MESSAGE(message_of(told).find("the file is damaged") != std::string::npos, describe(told));
  write_file(t.backend.path(),
             "this is no database at all, but it is as long as a header of one would be, or longer, yes");
  CHECK(t.backend.open("main").status().code() == StatusCode::kUnavailable);
  std::filesystem::remove(t.backend.path());
  CHECK(t.backend.open("main").ok());
}

TEST_CASE("sqlite store: what another owner of a closed file left behind makes the epoch rise") {
  SqliteBackend backend;
  const uint64_t newest = backend.open("main").value()->acquire("pod").value().epoch;
  backend.execute("UPDATE owners SET epoch = epoch + 1000000");
  CHECK(backend.open("main").value()->acquire("pod").value().epoch > newest + 1'000'000);
}

TEST_CASE("postgres store: a role that may only read and write is enough once the tables are there") {
  PostgresBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  REQUIRE(backend.open("main").ok());
  const PostgresDatabase& database = *backend.database;
  const std::string role = "limited_" + database.name();
  database.execute(fmt::format("CREATE ROLE {} LOGIN", role));
  std::string uri = database.uri();
  const size_t user = uri.find("://") + 3;
  uri.replace(user, uri.find('@') - user, role);
  const auto refused = make_postgres_store("main", {.uri = uri}, {});
  CHECK(refused.status().code() == StatusCode::kPermissionDenied);
  CHECK(message_of(refused.status()).find("GRANT USAGE ON SCHEMA headgate TO " + role) != std::string::npos);
  database.execute(fmt::format("GRANT USAGE ON SCHEMA headgate TO {}", role));
  database.execute(fmt::format("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA headgate TO {}", role));
  auto store = make_postgres_store("main", {.uri = uri}, {});
  REQUIRE_MESSAGE(store.ok(), describe(store.status()));
  const Fence fence = (*store)->acquire("pod").value();
  const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
  CHECK((*store)->commit("kafka", updates, fence).ok());
  store->reset();
  database.execute(fmt::format("DROP OWNED BY {}", role));
  database.execute(fmt::format("DROP ROLE {}", role));
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
  auto store = make_postgres_store("main", {.uri = fmt::format("postgres://u:hush@127.0.0.1:{}/d", free_port())}, {});
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

TEST_CASE("redis store: the commands that docs/rights.md lists are enough, and each one that is missing is named") {
  RedisBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  std::istringstream in(headgate::testing::with(
      headgate::testing::block_of(HEADGATE_SOURCE_DIR "/docs/rights.md", "redis tokens"), "PASSWORD", "hush"));
  const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  RedisStoreSettings settings;
  settings.connection.port = static_cast<uint16_t>(backend.port);
  settings.connection.user = "relay";
  settings.connection.password = "hush";
  const auto use = [&]() -> Status {
    HG_ASSIGN_OR_RETURN(const auto store, make_redis_store("main", settings, {}));
    HG_ASSIGN_OR_RETURN(const Fence fence, store->acquire("pod"));
    const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
    HG_RETURN_IF_ERROR(store->commit("kafka", updates, fence));
    return store->load("kafka").status();
  };
  backend.command(words);
  for (int start = 0; start < 2; ++start) CHECK(use().ok());
  for (const std::string& word : words) {
    if (word[0] != '+') continue;
    CAPTURE(word);
    backend.command({"ACL", "SETUSER", "relay", "-" + word.substr(1)});
    const Status refused = use();
    CHECK(refused.code() == StatusCode::kPermissionDenied);
    CHECK_MESSAGE(message_of(refused).find(word) != std::string::npos, describe(refused));
    backend.command({"ACL", "SETUSER", "relay", word});
  }
  CHECK(use().ok());
}

TEST_CASE("redis store: a server without memory is RESOURCE_EXHAUSTED") {
  RedisBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  std::unique_ptr<TokenStore> store = std::move(backend.open("main").value());
  const Fence fence = store->acquire("pod").value();
  backend.command({"CONFIG", "SET", "maxmemory", "1"});
  const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
  CHECK(store->commit("kafka", updates, fence).code() == StatusCode::kResourceExhausted);
  CHECK(store->ping().code() == StatusCode::kResourceExhausted);
}

TEST_CASE("token stores: a server that never answers is left at once when it is told to") {
  const headgate::testing::SilentServer silent;
  std::stop_source stop;
  TokenStoreSettings settings;
  SUBCASE("PostgreSQL") {
    settings.kind = TokenStoreKind::kPostgres;
    settings.postgres = {.uri = fmt::format("postgres://u@127.0.0.1:{}/d", silent.port()),
                         .connect_timeout = Duration(60'000)};
  }
  SUBCASE("Redis") {
    settings.kind = TokenStoreKind::kRedis;
    settings.redis.connection.port = static_cast<uint16_t>(silent.port());
    settings.redis.connection.password = "so that something is said";
    settings.redis.connection.command_timeout = Duration(60'000);
  }
  std::jthread later([&] {
    system_clock().sleep(Duration(100), {});
    stop.request_stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(make_token_store(settings, stop.get_token()).status().code() == StatusCode::kCancelled);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("postgres store: a statement that hangs is left at once when it is told to") {
  PostgresBackend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  std::stop_source stop;
  auto store = std::move(make_postgres_store("main", {.uri = backend.database->uri()}, stop.get_token()).value());
  const Fence fence = store->acquire("pod").value();
  pqxx::connection other(backend.database->uri());
  pqxx::work lock(other);
  lock.exec("LOCK TABLE headgate.relay_cursors IN ACCESS EXCLUSIVE MODE");
  std::jthread later([&] {
    system_clock().sleep(Duration(100), {});
    stop.request_stop();
  });
  const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
  const auto begin = std::chrono::steady_clock::now();
  CHECK(store->commit("kafka", updates, fence).code() == StatusCode::kCancelled);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  CHECK(store->ping().code() == StatusCode::kCancelled);
}

TEST_CASE("make_token_store: refuses a store without a name") {
  CHECK(make_token_store({.kind = TokenStoreKind::kMemory, .scope = ""}, {}).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(make_token_store({.kind = TokenStoreKind::kMemory}, {}).ok());
}

TEST_SUITE_END();

}  // namespace headgate::relay::testing
