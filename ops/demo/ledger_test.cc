#include "ops/demo/ledger.h"

#include "tests/support/test_main.h"

namespace headgate::demo {
namespace {

Transaction transaction(uint64_t xid, const std::string& change = "+a#b@c") {
  return {
      .tenant = "acme", .xid = xid, .token = "t", .title = "", .changes = {change}, .sent_at_us = 100, .timed = true};
}

Arrival arrival(const std::string& id, const std::string& change = "+a#b@c") {
  return {.id = id, .token = "t", .changes = {change}, .at_us = 400};
}

TEST_SUITE("ops/demo") {
  TEST_CASE("ledger: what arrives once everywhere is clean") {
    Ledger ledger({"x", "y"});
    ledger.wrote(transaction(5));
    CHECK_FALSE(ledger.wait_until_complete(std::chrono::milliseconds(0), {}));
    ledger.arrived("x", arrival("acme/5/0"));
    ledger.arrived("y", arrival("acme/5/0"));
    CHECK(ledger.wait_until_complete(std::chrono::milliseconds(0), {}));
    for (const Verdict& verdict : ledger.verdicts()) {
      CHECK(verdict.clean());
      CHECK(verdict.arrived == 1);
      CHECK(verdict.median_us == 300);
    }
  }

  TEST_CASE("ledger: an arrival may come before the writing call has returned") {
    Ledger ledger({"x"});
    ledger.arrived("x", arrival("acme/5/0"));
    ledger.wrote(transaction(5));
    CHECK(ledger.verdicts()[0].clean());
  }

  TEST_CASE("ledger: what was written while nobody delivered does not count for the times") {
    Ledger ledger({"x"});
    Transaction untimed = transaction(5);
    untimed.timed = false;
    ledger.wrote(untimed);
    ledger.arrived("x", arrival("acme/5/0"));
    CHECK(ledger.verdicts()[0].arrived == 1);
    CHECK(ledger.verdicts()[0].median_us == 0);
  }

  TEST_CASE("ledger: each fault is seen") {
    Ledger ledger({"x"});
    ledger.wrote(transaction(5));
    ledger.wrote(transaction(6));
    SUBCASE("missing") {
      ledger.arrived("x", arrival("acme/5/0"));
      CHECK(ledger.verdicts()[0].missing == 1);
    }
    SUBCASE("repeated") {
      for (const char* id : {"acme/5/0", "acme/6/0", "acme/6/0"}) ledger.arrived("x", arrival(id));
      CHECK(ledger.verdicts()[0].repeated == 1);
    }
    SUBCASE("out of order") {
      for (const char* id : {"acme/6/0", "acme/5/0"}) ledger.arrived("x", arrival(id));
      CHECK(ledger.verdicts()[0].disordered == 1);
    }
    SUBCASE("never written") {
      for (const char* id : {"acme/5/0", "acme/6/0", "acme/7/0"}) ledger.arrived("x", arrival(id));
      CHECK(ledger.verdicts()[0].wrong == 1);
    }
    SUBCASE("no id of ours") {
      for (const char* id : {"acme/5/0", "acme/6/0", "acme"}) ledger.arrived("x", arrival(id));
      CHECK(ledger.verdicts()[0].wrong == 1);
    }
    SUBCASE("other content") {
      ledger.arrived("x", arrival("acme/5/0"));
      ledger.arrived("x", arrival("acme/6/0", "-a#b@c"));
      CHECK(ledger.verdicts()[0].wrong == 1);
    }
    CHECK_FALSE(ledger.verdicts()[0].clean());
  }

  TEST_CASE("ledger: a tenant's name may contain a slash") {
    Ledger ledger({"x"});
    Transaction odd = transaction(5);
    odd.tenant = "a/b";
    ledger.wrote(odd);
    ledger.arrived("x", arrival("a/b/5/0"));
    CHECK(ledger.verdicts()[0].clean());
  }
}

}  // namespace
}  // namespace headgate::demo
