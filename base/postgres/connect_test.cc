#include "base/postgres/connect.h"

#include "base/postgres/array_text.h"
#include "base/postgres/errors.h"
#include "tests/support/postgres.h"
#include "tests/support/silent_server.h"

namespace headgate {
namespace {

using Clock = std::chrono::steady_clock;

std::string silent_uri(const testing::SilentServer& server) {
  return fmt::format("postgres://someone:s3cret@127.0.0.1:{}/db", server.port());
}

bool has(const Status& status, std::string_view text) { return message_of(status).find(text) != std::string::npos; }

// The port in a uri of the test's server.
std::string port_of(const std::string& uri) {
  std::string port;
  PQconninfoOption* options = PQconninfoParse(uri.c_str(), nullptr);
  for (PQconninfoOption* one = options; one->keyword != nullptr; ++one) {
    if (std::string_view(one->keyword) == "port" && one->val != nullptr) port = one->val;
  }
  PQconninfoFree(options);
  return port;
}

TEST_SUITE("base/postgres") {
  TEST_CASE("connect: a server that never answers is given up in time, and named") {
    testing::SilentServer server;
    const auto begin = Clock::now();
    const auto made = connect_libpq({silent_uri(server), Duration(300)}, {});
    CHECK(Clock::now() - begin < std::chrono::seconds(5));
    CHECK(made.status().code() == StatusCode::kUnavailable);
    CHECK(has(made.status(), kDatabaseAway));
    CHECK(has(made.status(), fmt::format("127.0.0.1, port {}", server.port())));
    CHECK_FALSE(has(made.status(), "s3cret"));
    const auto own = connect_libpq({silent_uri(server) + "?connect_timeout=2", Duration(600'000)}, {});
    CHECK(has(own.status(), "does not answer within 2000 ms"));
  }

  TEST_CASE("connect: a request to stop ends the attempt") {
    testing::SilentServer server;
    std::stop_source stop;
    const std::jthread stopper([&] { stop.request_stop(); });
    const auto begin = Clock::now();
    CHECK(connect_postgres({silent_uri(server), Duration(60'000)}, stop.get_token()).status().code() ==
          StatusCode::kCancelled);
    CHECK(Clock::now() - begin < std::chrono::seconds(10));
  }

  TEST_CASE("connect: of several hosts the first that answers is taken") {
    HG_POSTGRES(database);
    testing::SilentServer silent;
    const std::string port = port_of(database->uri());
    const std::string uri = fmt::format("{} host=127.0.0.1,127.0.0.1,127.0.0.1 port=1,{},{}",
                                        "dbname=postgres user=nobody-here", silent.port(), port);
    const Status status = connect_libpq({uri, Duration(300)}, {}).status();
    CAPTURE(message_of(status));
    // Every host was asked, and the last one knows no such user.
    CHECK(has(status, "Connection refused"));
    CHECK(has(status, "does not answer"));
    CHECK(has(status, "nobody-here"));
  }

  TEST_CASE("connect: a refusal says why, on one line") {
    HG_POSTGRES(database);
    const std::string uri = database->uri();
    const std::string absent = uri.find("://") == std::string::npos ? uri + " dbname=no_such_db"
                                                                    : uri.substr(0, uri.rfind('/')) + "/no_such_db";
    const Status status = connect_postgres({absent}, {}).status();
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK(has(status, "database \"no_such_db\" does not exist"));
    CHECK_FALSE(has(status, "\n"));
  }

  TEST_CASE("connect: a connection that broke stays broken") {
    HG_POSTGRES(database);
    const auto connection = connect_postgres({database->uri()}, {});
    REQUIRE(connection.ok());
    CHECK(pqxx::nontransaction(**connection).exec1("SELECT 1")[0].as<int>() == 1);
    database->disconnect_all();
    CHECK_THROWS_AS(pqxx::nontransaction(**connection).exec("SELECT 1"), pqxx::broken_connection);
    CHECK_THROWS_AS(pqxx::nontransaction(**connection).exec("SELECT 1"), pqxx::broken_connection);
  }

  TEST_CASE("errors: a missing right says which state, and on one line") {
    HG_POSTGRES(database);
    database->execute("CREATE TABLE closed (n int)");
    const auto connection = connect_postgres({database->uri()}, {});
    REQUIRE(connection.ok());
    const auto run = [&](const std::string& sql) {
      try {
        pqxx::nontransaction(**connection).exec(sql);
        return ok_status();
      } catch (...) {
        return status_of_postgres_exception();
      }
    };
    const Status status =
        run("DO $$ BEGIN RAISE EXCEPTION 'permission denied for table closed' USING ERRCODE = '42501'; END $$");
    CHECK(status.code() == StatusCode::kPermissionDenied);
    CHECK(has(status, "SQLSTATE 42501: ERROR:  permission denied for table closed"));
    CHECK_FALSE(has(status, "\n"));
    CHECK(run("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$").code() == StatusCode::kResourceExhausted);
  }

  TEST_CASE("check: a uri that libpq cannot read is refused without naming a value") {
    for (const char* good :
         {"postgres://u:p@h:5432/d?sslmode=require", "host=a,b port=1,2 dbname=d", "postgresql:///d"}) {
      CHECK(check_postgres_uri(good).ok());
    }
    const std::pair<const char*, const char*> bad[] = {
        {"mysql://u:s3cret@h/d", "must begin with postgres://"},
        {"postgres://u:s3cret@h/d?default_query_exec_mode=cache_describe", "\"default_query_exec_mode\""},
        {"postgres://u:s3cret%zz@h/d", "percent-encoded"},
        {"host=h password=s3cret word", "missing \"=\""},
        {"host=h no_such_option=1", "\"no_such_option\""},
    };
    for (const auto& [uri, reason] : bad) {
      const Status status = check_postgres_uri(uri);
      CAPTURE(message_of(status));
      CHECK(status.code() == StatusCode::kInvalidArgument);
      CHECK((has(status, reason) || has(status, "missing")));
      CHECK_FALSE(has(status, "s3cret"));
      CHECK_FALSE(has(status, "word"));
    }
  }

  TEST_CASE("array_text: quotes and backslashes are escaped") {
    CHECK(array_text(std::vector<std::string>{}) == "{}");
    CHECK(array_text(std::vector<std::string>{"a\"b", "c\\d"}) == R"({"a\"b","c\\d"})");
    CHECK(array_text(std::vector<uint64_t>{1, 2}) == "{1,2}");
  }
}

}  // namespace
}  // namespace headgate
