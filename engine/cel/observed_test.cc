// Expressions with what cel-go 0.29 made of them, from tests/cases/cel.
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/cel/compile.h"
#include "tests/support/cel_variables.h"
#include "tests/support/test_main.h"

namespace headgate::engine::cel {
namespace {

using nlohmann::json;

std::string difference(const json& expected, const CheckedExpr& actual) {
  CheckedExpr wanted;
  const auto status = google::protobuf::util::JsonStringToMessage(expected.dump(), &wanted);
  if (!status.ok()) return "the case cannot be read: " + status.ToString();
  google::protobuf::util::MessageDifferencer differencer;
  std::string report;
  differencer.ReportDifferencesToString(&report);
  return differencer.Compare(wanted, actual) ? "" : report;
}

void check_case(const json& recorded, const std::vector<Variable>& names) {
  const std::string body = recorded["body"];
  CAPTURE(body);
  Problem problem;
  const auto checked = compile(body, names, problem);
  if (!recorded.contains("checked")) {
    CHECK_MESSAGE(!checked, recorded["error"].get<std::string>());
    CHECK(checked.has_value() != !problem.text.empty());
    return;
  }
  CHECK_MESSAGE(checked, problem.text);
  if (checked && recorded["checked"] != "accepted") CHECK(difference(recorded["checked"], *checked) == "");
}

}  // namespace

TEST_SUITE("engine/cel") {
  TEST_CASE("cel: accepts, refuses and checks as recorded") {
    std::ifstream file(HEADGATE_SOURCE_DIR "/tests/cases/cel/checked.jsonl");
    REQUIRE(file.good());
    const auto names = testing::cel_variables();
    int count = 0;
    for (std::string line; std::getline(file, line); ++count) check_case(json::parse(line), names);
    CHECK(count > 400);
  }
}

}  // namespace headgate::engine::cel
