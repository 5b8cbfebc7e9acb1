#include "base/postgres/sessions.h"

#include <fstream>

#include "tests/support/postgres.h"
#include "tests/support/process.h"
#include "tests/support/program.h"

namespace headgate {
namespace {

// A pgbouncer in front of the test's server, as the user that may run it.
class Pooler : public testing::Program {
 public:
  Pooler(const std::string& folder, const std::string& server_port, const std::string& mode)
      : Pooler(folder, server_port, mode, testing::free_port()) {}

  std::string uri(const std::string& database) const {
    return fmt::format("postgres://postgres@127.0.0.1:{}/{}", port_, database);
  }

 private:
  Pooler(const std::string& folder, const std::string& server_port, const std::string& mode, int port)
      : Program({.name = "pgbouncer",
                 .argv = {testing::find_program("pgbouncer"), folder + "/" + mode + ".ini"},
                 .log_file = folder + "/" + mode + ".log",
                 .user = "postgres",
                 .ready = [port] { return PQping(fmt::format("host=127.0.0.1 port={}", port).c_str()) == PQPING_OK; }}),
        port_(port) {
    std::ofstream(folder + "/users.txt") << "\"postgres\" \"\"\n";
    std::ofstream(folder + "/" + mode + ".ini")
        << "[databases]\n* = host=127.0.0.1 port=" << server_port << "\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        << "listen_port = " << port << "\nunix_socket_dir =\nauth_type = trust\nauth_file = " << folder
        << "/users.txt\npool_mode = " << mode << "\ndefault_pool_size = 5\n"
        << "ignore_startup_parameters = extra_float_digits,options,statement_timeout\n";
  }

  int port_;
};

TEST_SUITE("base/postgres") {
  TEST_CASE("sessions: a server itself and a pooler that lends by session pass") {
    HG_OWN_POSTGRES(database);
    CHECK(check_sessions({database->uri()}, {}).ok());
    if (testing::find_program("pgbouncer").empty()) HG_SKIP("pgbouncer is not installed");
    testing::TempFolder folder("pooler");
    Pooler pooler(folder.path(), database->execute("SHOW port"), "session");
    pooler.start();
    const Status status = check_sessions({pooler.uri(database->name())}, {});
    CHECK_MESSAGE(status.ok(), describe(status));
  }

  TEST_CASE("sessions: a pooler that lends by transaction or statement is named, with what helps") {
    HG_OWN_POSTGRES(database);
    if (testing::find_program("pgbouncer").empty()) HG_SKIP("pgbouncer is not installed");
    for (const char* mode : {"transaction", "statement"}) {
      CAPTURE(mode);
      testing::TempFolder folder("pooler");
      Pooler pooler(folder.path(), database->execute("SHOW port"), mode);
      pooler.start();
      const Status status = check_sessions({pooler.uri(database->name())}, {});
      CHECK(status.code() == StatusCode::kFailedPrecondition);
      CHECK_MESSAGE(message_of(status).find("pool_mode = session") != std::string::npos, describe(status));
    }
  }

  TEST_CASE("sessions: an absent server is UNAVAILABLE") {
    CHECK(check_sessions({"postgres://nobody@127.0.0.1:1/none", Duration(300)}, {}).code() == StatusCode::kUnavailable);
  }
}

}  // namespace
}  // namespace headgate
