// Our engine against the recorded answers of Permify 1.7.3. What differs on purpose is listed with its reason in
// tests/cases/observed/deviations.json, and each of these must really differ.
#include <atomic>
#include <fstream>
#include <mutex>
#include <regex>
#include <thread>

#include "tests/integration/engine_process.h"
#include "tests/integration/observed.h"
#include "tests/support/postgres.h"

namespace headgate::testing {
namespace {

constexpr int kThreads = 8;

std::vector<Json> read_scenarios(const std::string& area) {
  std::ifstream in(std::string(HEADGATE_SOURCE_DIR) + "/tests/cases/observed/" + area + ".jsonl");
  std::vector<Json> out;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) out.push_back(Json::parse(line));
  }
  return out;
}

std::string call_of(const Json& step) { return step.contains("watch") ? "Watch.Watch" : step.value("call", ""); }

// Recorded as INTERNAL with a bare text; ours are INVALID_ARGUMENT with a name in front. The text is not compared.
bool is_schema_language_error(const Json& step, const Json& expect) {
  const std::string message = expect.value("message", "");
  return call_of(step).rfind("Schema.", 0) == 0 && expect.value("code", "") == "INTERNAL" &&
         message.rfind("ERROR_CODE_", 0) != 0;
}

Json* find(Json& root, const std::string& path) {
  Json* at = &root;
  size_t start = 0;
  while (!path.empty() && start <= path.size()) {
    const size_t end = std::min(path.find('.', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (at->is_array()) {
      if (std::stoul(part) >= at->size()) return nullptr;
      at = &(*at)[std::stoul(part)];
    } else {
      if (!at->is_object()) return nullptr;
      at = &(*at)[part];
    }
    start = end + 1;
  }
  return at;
}

// `expect` as we want it; notes which deviations made it so.
class Expectations {
 public:
  Expectations()
      : deviations_(read_deviations(std::string(HEADGATE_SOURCE_DIR) + "/tests/cases/observed/deviations.json")) {}

  Json of(const std::string& scenario, int number, const Json& step, const Json& got) {
    Json expect = step["expect"];
    if (is_schema_language_error(step, expect)) {
      expect["code"] = "INVALID_ARGUMENT";
      if (got.value("message", "").rfind("ERROR_CODE_", 0) == 0) expect["message"] = got["message"];
    }
    std::lock_guard lock(mutex_);
    for (Deviation& one : deviations_) {
      if (one.scenario != "*" && one.scenario != scenario) continue;
      if (one.step != 0 && one.step != number) continue;
      if (call_of(step).rfind(one.call, 0) != 0) continue;
      Json* place = find(expect, one.path);
      if (place == nullptr) continue;
      const Json recorded = *place;
      Json came = got;
      const Json* there = one.any ? find(came, one.path) : nullptr;
      *place = !one.any ? one.got : there != nullptr ? *there : Json();
      if (*place != recorded) one.occurred = true;
    }
    return expect;
  }

  std::vector<std::string> unused(const std::set<std::string>& scenarios) {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const Deviation& one : deviations_) {
      const bool played = one.scenario == "*" || scenarios.count(one.scenario) != 0;
      if (played && !one.occurred) out.push_back(one.scenario + " " + std::to_string(one.step) + " " + one.path);
    }
    return out;
  }

 private:
  std::mutex mutex_;
  std::vector<Deviation> deviations_;
};

struct Tally {
  std::mutex mutex;
  std::vector<std::string> differences;
  std::set<std::string> scenarios;
  int steps = 0;
};

void judge(const Json& scenario, const std::shared_ptr<grpc::Channel>& channel, Expectations& wanted, Tally& tally) {
  const std::string name = scenario["name"];
  std::vector<std::string> differences;
  try {
    const std::vector<Json> answers = play(scenario, channel);
    for (size_t i = 0; i < answers.size(); ++i) {
      const Json& step = scenario["steps"][i];
      const Json expect = wanted.of(name, static_cast<int>(i + 1), step, answers[i]);
      for (const Difference& one : compare(expect, answers[i])) {
        differences.push_back(name + " | " + std::to_string(i + 1) + " " + call_of(step) + " | " + one.path +
                              " | expected " + one.expected + " | got " + one.got);
      }
    }
  } catch (const std::exception& error) {
    differences.push_back(name + " | " + error.what());
  }
  std::lock_guard lock(tally.mutex);
  tally.scenarios.insert(name);
  tally.steps += static_cast<int>(scenario["steps"].size());
  tally.differences.insert(tally.differences.end(), differences.begin(), differences.end());
}

// Scenarios use tenants of their own, so they may run side by side; those that list tenants may not.
void play_all(const std::string& area, const std::shared_ptr<grpc::Channel>& channel, Expectations& wanted,
              Tally& tally) {
  const std::vector<Json> scenarios = read_scenarios(area);
  REQUIRE_FALSE(scenarios.empty());
  std::atomic<size_t> next{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < (area == "tenancy" ? 1 : kThreads); ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < scenarios.size(); at = next++) judge(scenarios[at], channel, wanted, tally);
    });
  }
}

}  // namespace

TEST_SUITE("integration/observed") {
  TEST_CASE("observed: the engine answers as recorded, except for the listed deviations") {
    HG_POSTGRES(database);
    EngineProcess engine({.database_uri = database->uri()});
    used_server("headgate-engine over postgresql " + database->execute("SHOW server_version"));
    Expectations wanted;
    Tally tally;
    for (const char* area : {"tenancy", "schema", "data", "bundle", "permission", "watch"}) {
      play_all(area, engine.channel(), wanted, tally);
    }
    for (const std::string& one : tally.differences) MESSAGE(one);
    CHECK(tally.differences.empty());
    for (const std::string& one : wanted.unused(tally.scenarios)) MESSAGE("this deviation does not occur: " << one);
    CHECK(wanted.unused(tally.scenarios).empty());
    CHECK(tally.steps > 900);
  }
}

}  // namespace headgate::testing
