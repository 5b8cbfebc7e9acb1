// The oracle is worth something: with any of these guards off (base/guard.h) it finds answers that are wrong.
#ifdef HEADGATE_GUARD_SWITCHES

#include "tests/support/postgres.h"
#include "tests/support/process.h"

namespace headgate::engine {
namespace {

// Plays the first worlds in a process of its own, on the same server; true when an answer was wrong.
bool finds(const testing::PostgresDatabase& database, const std::string& guard, const std::string& log) {
  testing::Process worlds({.argv = {"/proc/self/exe", "-tc=oracle: every answer*", "--abort-after=1"},
                           .env = {{"HEADGATE_GUARDS_OFF", guard},
                                   {"HEADGATE_ORACLE_WORLDS", "10"},
                                   {"HEADGATE_TEST_RESULTS", ""},  // what it finds is no failure of ours
                                   {"HEADGATE_TEST_POSTGRES", database.uri()}},
                           .log_file = log});
  REQUIRE(worlds.wait(std::chrono::minutes(3)));
  return worlds.exit_code() == 1;
}

TEST_SUITE("check/oracle_guards") {
  TEST_CASE("oracle guards: each seeded fault is found within a few worlds, and none without a fault") {
    HG_POSTGRES(database);
    const testing::TempFolder folder;
    for (const std::string guard :
         {"check_state", "check_exclusion", "check_failures", "check_circles", "check_subjects", "check_context",
          "check_arrows", "check_values", "lookup_pages", "lookup_sides", "lookup_values"}) {
      CHECK_MESSAGE(finds(*database, guard, folder.path() + "/" + guard), guard);
    }
    CHECK_FALSE(finds(*database, "drain_spread", folder.path() + "/none"));
  }
}

}  // namespace
}  // namespace headgate::engine

#endif
