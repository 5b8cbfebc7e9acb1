// Schemas with the definitions that Permify made of them, from tests/cases/observed.
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/v1/service.pb.h"
#include "engine/schema/schema.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using nlohmann::json;

std::vector<json> scenarios() {
  std::ifstream file(HEADGATE_SOURCE_DIR "/tests/cases/observed/schema.jsonl");
  REQUIRE(file.good());
  std::vector<json> all;
  for (std::string line; std::getline(file, line);) all.push_back(json::parse(line));
  return all;
}

// "${rep:u:64}" stands for 64 times "u".
std::string expand(std::string text) {
  for (size_t at; (at = text.find("${rep:")) != std::string::npos;) {
    const size_t end = text.find('}', at);
    const size_t count = std::stoul(text.substr(at + 8, end - at - 8));
    text.replace(at, end + 1 - at, std::string(count, text[at + 6]));
  }
  return text;
}

json expand_all(const json& value) { return json::parse(expand(value.dump())); }

// One tenant: what the calls of a scenario would store.
class Runner {
 public:
  explicit Runner(const json& scenario) : keeps_rules_(scenario.contains("keep")) {
    for (const json& step : scenario["steps"]) run(step);
  }

  int steps() const { return steps_; }

 private:
  void run(const json& step) {
    CAPTURE(step.dump());
    const json& expect = step["expect"];
    if (is_refused_before(expect)) return;
    const json body = expand_all(step["body"]);
    if (step["call"] == "Schema.Write") {
      store(compile_schema(body["schema"].get<std::string>()), step);
    } else if (step["call"] == "Schema.PartialWrite") {
      partial_ = true;
      base::v1::SchemaPartialWriteRequest request;
      REQUIRE(google::protobuf::util::JsonStringToMessage(body.dump(), &request).ok());
      store(apply_partials(versions_["head"], request.partials()), step);
    } else if (step["call"] == "Schema.Read") {
      read(body, expand_all(expect["response"]["schema"]));
    } else {
      return;
    }
    ++steps_;
  }

  // By the field rules of the API or its size limit, which are not ours to check.
  static bool is_refused_before(const json& expect) {
    if (expect["code"] == "NOT_FOUND" && expect["message"] == "ERROR_CODE_SCHEMA_NOT_FOUND") return true;
    return expect.value("message", "").find("invalid Schema") == 0 || expect["code"] == "RESOURCE_EXHAUSTED";
  }

  void store(const StatusOr<CompiledSchema>& compiled, const json& step) {
    const json& expect = step["expect"];
    if (expect["code"] == "OK") {
      REQUIRE_MESSAGE(compiled.ok(), compiled.status().ToString());
      versions_["head"] = compiled->rows;
      const json saved = step.value("save", json::object());
      for (const auto& [variable, path] : saved.items()) {
        versions_["${" + variable + "}"] = compiled->rows;
      }
      return;
    }
    const std::string recorded = expect["message"];
    // A comment in a rule's body: Permify reads it as code.
    if (recorded.find("extraneous input 'five'") != std::string::npos) {
      CHECK(compiled.ok());
      return;
    }
    REQUIRE_FALSE(compiled.ok());
    const std::string message = message_of(compiled.status());
    CHECK_MESSAGE(message.find("ERROR_CODE_") == 0, message);
    if (recorded.find("ERROR_CODE_") == 0) {
      CHECK(message == recorded);
      CHECK(code_name(compiled.status().code()) == expect["code"].get<std::string>());
    } else {
      CHECK(compiled.status().code() == StatusCode::kInvalidArgument);
    }
  }

  void read(const json& body, const json& expected) {
    const std::string version = body["metadata"].value("schema_version", "");
    const auto rows = versions_.find(version.empty() ? "head" : version);
    const auto got = read_schema(rows == versions_.end() ? std::vector<SchemaRow>{} : rows->second);
    REQUIRE_MESSAGE(got.ok(), got.status().ToString());
    base::v1::SchemaDefinition wanted;
    REQUIRE(google::protobuf::util::JsonStringToMessage(without_placeholders(expected).dump(), &wanted).ok());
    base::v1::SchemaDefinition actual = *got;
    forget_what_was_not_recorded(actual);
    forget_what_was_not_recorded(wanted);
    google::protobuf::util::MessageDifferencer differencer;
    std::string difference;
    differencer.ReportDifferencesToString(&difference);
    CHECK_MESSAGE(differencer.Compare(wanted, actual), difference);
  }

  json without_placeholders(json schema) const {
    for (auto& [name, rule] : schema["rule_definitions"].items()) {
      if (rule["expression"].is_string()) rule.erase("expression");
    }
    return schema;
  }

  // Permify's partial writes add lines in front of every rule; ours leave rules alone, so positions stay.
  void forget_what_was_not_recorded(base::v1::SchemaDefinition& schema) const {
    for (auto& [name, rule] : *schema.mutable_rule_definitions()) {
      if (!keeps_rules_) rule.clear_expression();
      if (partial_) rule.mutable_expression()->clear_source_info();
    }
  }

  bool keeps_rules_;
  bool partial_ = false;
  int steps_ = 0;
  std::map<std::string, std::vector<SchemaRow>> versions_;
};

}  // namespace

TEST_SUITE("engine/schema") {
  TEST_CASE("schema: accepts, refuses and compiles as recorded") {
    int steps = 0;
    for (const json& scenario : scenarios()) {
      CAPTURE(scenario["name"].get<std::string>());
      steps += Runner(scenario).steps();
    }
    CHECK(steps > 150);
  }
}

}  // namespace headgate::engine
