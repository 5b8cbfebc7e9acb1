#include "base/program.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/process.h"
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

#ifndef HEADGATE_SANITIZED
struct Ended {
  int code = 0;  // 128 and the number of a signal, as a shell has it
  std::string word;
  bool operator==(const Ended&) const = default;
};

// What a program with this work ends with, and which of the last words are in its log.
Ended run_in_child(const std::function<void()>& work) {
  const testing::TempFolder folder("headgate-program");
  const std::string log = folder.path() + "/log";
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    freopen(log.c_str(), "w", stderr);
    signal(SIGABRT, SIG_DFL);  // doctest's
    FakeProgram program;
    program.work = [&](std::stop_token) { work(); };
    [&]() noexcept { _exit(run(program, {})); }();
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  Ended ended{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ""};
  const std::string text = testing::read_file(log);
  for (const std::string word : {"out_of_memory", "out_of_threads"}) {
    if (text.find(word + " why=") != std::string::npos) ended.word = word;
  }
  return ended;
}
#endif

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

#ifndef HEADGATE_SANITIZED  // they need address space without end
  TEST_CASE("program: without memory or threads it says so, and ends with a code of its own") {
    const auto limit_space = [] {
      const rlimit limit{1 << 20, 1 << 20};  // what is there already stays
      setrlimit(RLIMIT_AS, &limit);
    };
    const auto hoard = [&] {
      limit_space();
      std::vector<std::unique_ptr<char[]>> all;
      for (;;) all.push_back(std::make_unique<char[]>(16 << 20));
    };
    const auto give_up = [&] {
      limit_space();
      if (malloc(256 << 20) == nullptr) abort();  // as gRPC does
    };
    const auto start_threads = [&] {
      limit_space();
      static std::vector<std::jthread> all;  // what destroys it would wait for them
      for (;;) all.emplace_back([] { pause(); });
    };
    CHECK(run_in_child(hoard) == Ended{4, "out_of_memory"});
    CHECK(run_in_child(give_up) == Ended{4, "out_of_memory"});
    const auto grow_the_stack = [&] {
      limit_space();
      const std::function<int(int)> deeper = [&](int depth) {
        volatile char room[64 << 10];
        room[0] = static_cast<char>(depth);
        return depth > 100'000 ? 0 : deeper(depth + 1) + room[0];
      };
      deeper(0);
    };
    CHECK(run_in_child(grow_the_stack) == Ended{4, "out_of_memory"});
    CHECK(run_in_child(start_threads) == Ended{4, "out_of_threads"});
    CHECK(run_in_child([] { abort(); }) == Ended{128 + SIGABRT, ""});
    CHECK(run_in_child([] { throw std::runtime_error("no"); }) == Ended{128 + SIGABRT, ""});
  }
#endif
}

}  // namespace headgate
