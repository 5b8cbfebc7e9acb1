#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/support/test_main.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

namespace {

std::set<std::string> skip_reasons;
std::set<std::string> servers;
int skipped_cases = 0;
int ran_cases = 0;
bool current_skipped = false;

// As ctest calls this run: several tests may be one program.
std::string name_of_run() {
  const char* name = std::getenv("HEADGATE_TEST_NAME");
  return name != nullptr ? name : std::filesystem::read_symlink("/proc/self/exe").filename().string();
}

// Appends "test passed failed skipped" and details to the file that the test command sums up.
struct ResultFile : doctest::IReporter {
  explicit ResultFile(const doctest::ContextOptions&) {}
  int failed = 0;

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_start(const doctest::TestCaseData&) override { current_skipped = false; }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    ++ran_cases;
    if (stats.failure_flags != 0) {
      ++failed;
    } else if (current_skipped) {
      ++skipped_cases;
    }
  }
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
  void test_run_end(const doctest::TestRunStats&) override {
    for (const std::string& reason : skip_reasons) std::printf("SKIPPED: %s\n", reason.c_str());
    const char* path = std::getenv("HEADGATE_TEST_RESULTS");
    if (path == nullptr || *path == '\0') return;
    std::ofstream out(path, std::ios::app);
    const std::string program = name_of_run();
    out << "suite\t" << program << '\t' << ran_cases - failed - skipped_cases << '\t' << failed << '\t' << skipped_cases
        << '\n';
    for (const std::string& server : servers) out << "server\t" << program << '\t' << server << '\n';
    for (const std::string& reason : skip_reasons) out << "skip\t" << program << '\t' << reason << '\n';
  }
};

REGISTER_LISTENER("result_file", 1, ResultFile);

}  // namespace

namespace headgate::testing {

void skip_case(const std::string& reason) {
  const char* ci = std::getenv("CI");
  if (ci != nullptr && std::string(ci) == "true") {
    FAIL("with CI=true nothing may be skipped: " << reason);
  }
  current_skipped = true;
  skip_reasons.insert(reason);
}

void used_server(const std::string& server) { servers.insert(server); }

bool wait_until(const std::function<bool()>& predicate, std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace headgate::testing

int main(int argc, char** argv) {
  doctest::Context context;
  context.applyCommandLine(argc, argv);
  const int code = context.run();
  if (std::getenv("HEADGATE_TEST_NAME") == nullptr || ran_cases > 0) return code;
  std::fprintf(stderr, "no case was selected\n");
  return 1;
}
