#include <doctest/doctest.h>
#include <pwd.h>
#include <unistd.h>

#include <filesystem>

#include "engine/feed/feed.h"
#include "engine/storage/migrations.h"
#include "engine/storage/postgres_history.h"
#include "tests/support/engine_session.h"
#include "tests/support/postgres.h"
#include "tests/support/process.h"

namespace headgate::engine {

namespace {

namespace fs = std::filesystem;
using testing::EngineSession;
using testing::Process;
using testing::wait_until;

std::string binary(const std::string& name) {
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql")) {
    const fs::path path = version.path() / "bin" / name;
    if (fs::exists(path)) return path.string();
  }
  return name;
}

// A standby of the server behind `primary_uri`, made with pg_basebackup.
class Standby {
 public:
  explicit Standby(const std::string& primary_uri) : port_(testing::free_port()) {
    if (::geteuid() == 0) {
      const passwd* user = ::getpwnam("postgres");
      REQUIRE(user != nullptr);
      REQUIRE(::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid) == 0);
    }
    Process backup(
        {.argv = {binary("pg_basebackup"), "-d", primary_uri, "-D", data(), "-R", "-X", "stream", "-c", "fast"},
         .log_file = log(),
         .user = "postgres"});
    REQUIRE(backup.wait(std::chrono::seconds(60)));
    REQUIRE(backup.exit_code() == 0);
    server_ = std::make_unique<Process>(
        Process::Options{.argv = {binary("postgres"), "-D", data(), "-p", std::to_string(port_), "-h", "127.0.0.1",
                                  "-k", folder_.path(), "-c", "fsync=off", "-c", "max_connections=200", "-c",
                                  "max_prepared_transactions=20", "-c", "wal_level=logical"},
                         .log_file = log(),
                         .user = "postgres"});
  }
  std::string uri(const std::string& database) const {
    return "postgresql://postgres@127.0.0.1:" + std::to_string(port_) + "/" + database;
  }

 private:
  std::string data() const { return folder_.path() + "/data"; }
  std::string log() const { return folder_.path() + "/log"; }

  testing::TempFolder folder_{"headgate-standby"};
  const int port_;
  std::unique_ptr<Process> server_;
};

class Silent : public Wakeup {
 public:
  void wake() override {}
};

struct Reader {
  Reader(Feed& feed, const std::string& token) : stream(feed.open({.tenants = {{"t1", token}}}, silent)) {}
  bool pull() {
    auto pull = stream->pull({});
    if (!pull.ok()) {
      end = pull.status();
      return false;
    }
    opened |= pull->opening.has_value();
    for (const auto& item : pull->items) xids.push_back(item->xid);
    return true;
  }
  bool receives(uint64_t xid) {
    return wait_until([&] { return pull() && !xids.empty() && xids.back() == xid; });
  }
  bool ends() {
    return wait_until([&] { return !pull(); });
  }

  std::shared_ptr<Silent> silent = std::make_shared<Silent>();
  std::shared_ptr<FeedStream> stream;
  std::vector<uint64_t> xids;
  bool opened = false;
  Status end;
};

}  // namespace

TEST_SUITE("feed/promotion") {
  TEST_CASE("feed: serves a standby, and ends all streams when it is promoted") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    EngineSession writer(database->uri());
    const uint64_t start = writer.write("t1", "start");
    // The primary's own feed records its incarnation.
    REQUIRE((*open_history({.uri = database->uri()}))->incarnation()->first_xid == 0);
    const Standby standby(database->uri());
    const std::string uri = standby.uri(database->name());
    REQUIRE(wait_until([&] { return open_history({.uri = uri}).ok(); }, std::chrono::seconds(30)));
    Feed feed([uri] { return open_history({.uri = uri}); });
    Reader reader(feed, encode_legacy_token(start));
    const uint64_t replicated = writer.write("t1", "a");
    CHECK(reader.receives(replicated));
    // Running transactions of the primary hold the standby's horizon back, and nothing is lost.
    EngineSession low(database->uri());
    const uint64_t first = low.begin("t1");
    low.add("low");
    const uint64_t second = writer.write("t1", "high");
    low.commit();
    CHECK(reader.receives(second));
    CHECK(reader.xids == std::vector<uint64_t>{replicated, first, second});

    EngineSession promoted(uri);
    promoted.run("SELECT pg_promote()");
    REQUIRE(reader.ends());
    CHECK(reader.end.code() == StatusCode::kOutOfRange);
    CHECK(reason_of(reader.end) == kOtherIncarnation);
    Reader old(feed, encode_legacy_token(replicated));
    REQUIRE(old.ends());
    CHECK(reason_of(old.end) == kOtherIncarnation);
    Reader fresh(feed, "");
    REQUIRE(wait_until([&] { return fresh.pull() && fresh.opened; }));
    const uint64_t next = promoted.write("t1", "b");
    CHECK(fresh.receives(next));
    Reader resumed(feed, encode_legacy_token(next));
    REQUIRE(wait_until([&] { return resumed.pull() && resumed.opened; }));
  }
}

}  // namespace headgate::engine
