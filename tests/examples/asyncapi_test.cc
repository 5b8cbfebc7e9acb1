// docs/asyncapi.yaml is what AsyncAPI's own parser takes, and what the golden events are.
#include "tests/examples/install.h"
#include "tests/support/servers.h"
#include "tests/support/test_main.h"

TEST_SUITE("examples/asyncapi") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  TEST_CASE("the description of all channels parses, and every golden event and every one in the docs is as it says") {
    const Installed check = install_node("tests/examples/asyncapi", "check.js");
    if (!check.missing.empty()) HG_SKIP(check.missing);
    const TempFolder folder;
    const std::string log = folder.path() + "/check.log";
    std::vector<std::string> argv = check.command;
    argv.insert(argv.end(), {HEADGATE_SOURCE_DIR "/docs/asyncapi.yaml", HEADGATE_SOURCE_DIR "/tests/cases/events",
                             HEADGATE_SOURCE_DIR "/docs/subscribers.md"});
    Process node({.argv = argv, .log_file = log});
    const bool ended = node.wait(60s);
    CHECK_MESSAGE((ended && node.exit_code() == 0), read_file(log));
    used_server("@asyncapi/parser 3.6.6");
  }
}
