#include "base/refusals.h"

#include <fstream>
#include <set>
#include <sstream>

#include "tests/support/test_main.h"

namespace headgate {
namespace {

std::string page() {
  std::ifstream file(std::string(HEADGATE_SOURCE_DIR) + "/docs/refusals.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

RefusalKind kind(ServerKind server, std::string_view told) {
  const RefusalRow* row = find_refusal(server, told);
  return row == nullptr ? RefusalKind::kAway : row->kind;
}

}  // namespace

TEST_SUITE("refusals") {
  TEST_CASE("refusals: what a server says has one kind, and the longest code decides") {
    CHECK(kind(ServerKind::kPostgres, "42501") == RefusalKind::kRights);
    CHECK(kind(ServerKind::kPostgres, "28P01") == RefusalKind::kRights);
    CHECK(kind(ServerKind::kPostgres, "53300") == RefusalKind::kLimit);
    CHECK(kind(ServerKind::kPostgres, "25006") == RefusalKind::kTopology);
    CHECK(kind(ServerKind::kPostgres, "57P03") == RefusalKind::kAway);
    CHECK(kind(ServerKind::kRedis, "NOPERM this user has no permissions") == RefusalKind::kRights);
    CHECK(kind(ServerKind::kRedis, "ERR max number of clients reached") == RefusalKind::kLimit);
    CHECK(kind(ServerKind::kRedis, "ERR something new") == RefusalKind::kAway);
    CHECK(kind(ServerKind::kKafka, "NOT_ENOUGH_REPLICAS_AFTER_APPEND") == RefusalKind::kTopology);
    CHECK(kind(ServerKind::kKafka, "POLICY_VIOLATION") == RefusalKind::kRights);
    CHECK(kind(ServerKind::kKafka, "THROTTLING_QUOTA_EXCEEDED") == RefusalKind::kQuota);
    CHECK(kind(ServerKind::kNats, "10077") == RefusalKind::kLimit);
    CHECK(kind(ServerKind::kUpstream, "UNAUTHENTICATED") == RefusalKind::kRights);
    CHECK(find_refusal(ServerKind::kUpstream, "OK") == nullptr);
  }

  TEST_CASE("refusals: only what is too large or malformed speaks of an event") {
    std::set<std::string> poison;
    for (const RefusalRow& row : refusal_rows()) {
      if (row.kind != RefusalKind::kEvent) continue;
      poison.insert(std::string(row.code));
      CHECK(code_of(row.kind) == StatusCode::kInvalidArgument);
    }
    CHECK(poison == std::set<std::string>{"10054", "10097", "ERR Protocol error: invalid bulk length",
                                          "ERR Protocol error: invalid multibulk length", "ERR Protocol error: too big",
                                          "ERR string exceeds maximum allowed size", "INVALID_RECORD",
                                          "MSG_SIZE_TOO_LARGE", "Maximum Payload Violation", "RECORD_LIST_TOO_LARGE"});
  }

  TEST_CASE("refusals: a status keeps its kind, also under another text") {
    const Status quota = with_refusal(unavailable("full"), RefusalKind::kQuota);
    CHECK(refusal_kind(quota) == RefusalKind::kQuota);
    const Status told = reworded(quota, "the sink: full");
    CHECK(refusal_kind(told) == RefusalKind::kQuota);
    CHECK(told.code() == StatusCode::kUnavailable);
    CHECK(described_refusal(told) == "quota: UNAVAILABLE: the sink: full");
    CHECK(refusal_kind(make_status(StatusCode::kPermissionDenied, "no")) == RefusalKind::kRights);
    CHECK(refusal_kind(unavailable("no")) == RefusalKind::kAway);
  }

  TEST_CASE("refusals: the page for operators is the table") {
    const bool same = page().find(refusals_as_markdown()) != std::string::npos;
    if (!same) std::printf("docs/refusals.md should hold:\n%s", refusals_as_markdown().c_str());
    CHECK(same);
  }
}

}  // namespace headgate
