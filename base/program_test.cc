#include "base/program.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/test_main.h"

namespace headgate {
namespace {

class FakeProgram : public Program {
 public:
  FakeProgram()
      : Program({.name = "fake", .version = "1", .commit = "abc", .purpose = "a fake", .env_prefix = "FAKE"}) {}

  std::string reference() const override { return ""; }
  Status load(const std::string&, std::vector<std::string>&) override { return loaded; }
  std::string print() const override { return ""; }
  Duration stop_limit() const override { return Duration(200); }
  StatusOr<SettingsChanges> reload(const std::string&, std::vector<std::string>&) override {
    ++reloads;
    return SettingsChanges{};
  }
  std::string print_sql() const override { return "CREATE nothing;\n"; }
  const LogSettings& log() const override { return log_; }
  Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) override {
    ran = true;
    if (work) work(stop);
    on_ports({{"grpc", 0}, {"http", 81}});
    on_ports({{"grpc", 80}, {"http", 81}});
    return result;
  }

  Status loaded, result;
  bool ran = false;
  std::atomic<int> reloads{0};
  std::function<void(std::stop_token)> work;

 private:
  LogSettings log_;
};

int run(FakeProgram& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "fake");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return run_program(program, static_cast<int>(argv.size()), argv.data());
}

}  // namespace

TEST_SUITE("base/program") {
  TEST_CASE("program: the port file has the ports that were bound last") {
    std::string folder = (std::filesystem::temp_directory_path() / "headgate-program-XXXXXX").string();
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    FakeProgram program;
    CHECK(run(program, {"--port-file", folder + "/ports"}) == 0);
    std::ifstream file(folder + "/ports");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    CHECK(text == "grpc=80\nhttp=81\n");
    CHECK_FALSE(std::filesystem::exists(folder + "/ports.part"));
    std::filesystem::remove_all(folder);
  }

  TEST_CASE("program: exit codes tell a failure from settings that cannot be used") {
    FakeProgram program;
    program.result = unavailable("away");
    CHECK(run(program, {}) == 1);
    program.ran = false;
    CHECK(run(program, {"--check-config"}) == 0);
    program.loaded = invalid_argument("wrong");
    CHECK(run(program, {}) == 2);
    CHECK(run(program, {"--settings"}) == 0);
    CHECK(run(program, {"--none-such"}) == 64);
    CHECK(run(program, {"--help"}) == 0);
    CHECK_FALSE(program.ran);
  }

  TEST_CASE("program: SIGHUP loads the settings again and ends nothing") {
    FakeProgram program;
    program.work = [&](std::stop_token stop) {
      for (int i = 1; i <= 3; ++i) {
        kill(getpid(), SIGHUP);
        CHECK(testing::wait_until([&] { return program.reloads == i; }));
      }
      CHECK_FALSE(stop.stop_requested());
    };
    CHECK(run(program, {}) == 0);
    CHECK(program.reloads == 3);
  }

  TEST_CASE("program: one that does not stop when it is told to is ended, with a code of its own") {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      FakeProgram program;
      program.work = [](std::stop_token) {
        kill(getpid(), SIGTERM);
        for (;;) pause();
      };
      _exit(run(program, {}));
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 3);
  }
}

}  // namespace headgate
