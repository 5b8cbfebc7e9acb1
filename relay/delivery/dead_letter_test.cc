#include "relay/delivery/dead_letter.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

using headgate::testing::read_file;
using headgate::testing::TempFolder;
using headgate::testing::write_file;

sinks::Delivery delivery_of(uint64_t xid, uint64_t sequence, size_t payload = 10) {
  auto event = std::make_shared<sinks::Event>();
  event->tenant = "a\"\n\xff";
  event->xid = xid;
  event->payload.assign(payload, '\x01');
  return {std::move(event), sequence, "before"};
}

struct Folder {
  TempFolder folder;
  std::string path = folder.path() + "/dead.jsonl";
  const Status reason = invalid_argument("too large");

  std::vector<std::string> lines(const std::string& of = "") const {
    std::istringstream in(read_file(of.empty() ? path : of));
    std::vector<std::string> found;
    for (std::string line; std::getline(in, line);) found.push_back(line);
    return found;
  }
  Status append(uint64_t xid, uint64_t sequence, const std::string& sink = "k") const {
    DeadLetterFile file(path);
    return file.append(sink, delivery_of(xid, sequence), reason, 7);
  }
  bool held(uint64_t xid, uint64_t sequence, const std::string& sink = "k") const {
    DeadLetterFile file(path);
    const auto holds = file.holds(sink, delivery_of(xid, sequence));
    REQUIRE_MESSAGE(holds.ok(), describe(holds.status()));
    return *holds;
  }
};

}  // namespace

TEST_SUITE_BEGIN("relay/dead_letter");

TEST_CASE("dead letters: each is written once, over restarts, for each sink and sequence") {
  const Folder f;
  CHECK_FALSE(f.held(5, 1));
  for (int start = 0; start < 3; ++start) {
    CHECK(f.append(5, 1).ok());
    CHECK(f.append(5, 1, "other").ok());
    CHECK(f.append(5, 2).ok());
    CHECK(f.held(5, 1));
  }
  REQUIRE(f.lines().size() == 3);
  const auto line = nlohmann::json::parse(f.lines()[0]);
  CHECK(line["sink"] == "k");
  CHECK(line["sequence"] == 1);
  CHECK(line["previous_token"] == "before");
  CHECK(line["error"] == "INVALID_ARGUMENT: too large");
  CHECK_FALSE(f.held(6, 1));
  CHECK_FALSE(f.held(5, 1, "third"));
}

TEST_CASE("dead letters: the same object does not write twice either") {
  const Folder f;
  DeadLetterFile file(f.path);
  for (int i = 0; i < 2; ++i) CHECK(file.append("k", delivery_of(5, 1), f.reason, 7).ok());
  CHECK(f.lines().size() == 1);
}

TEST_CASE("dead letters: half a line that a crash left is cut off, and its event written again") {
  const Folder f;
  REQUIRE(f.append(5, 1).ok());
  REQUIRE(f.append(6, 2).ok());
  const std::string text = read_file(f.path);
  write_file(f.path, text.substr(0, text.size() - 20));
  CHECK(f.held(5, 1));
  CHECK_FALSE(f.held(6, 2));
  CHECK(f.lines().size() == 1);
  CHECK(f.append(6, 2).ok());
  CHECK(read_file(f.path) == text);
}

TEST_CASE("dead letters: a whole last line without its end is kept") {
  const Folder f;
  REQUIRE(f.append(5, 1).ok());
  const std::string text = read_file(f.path);
  write_file(f.path, text.substr(0, text.size() - 1));
  CHECK(f.held(5, 1));
  CHECK(read_file(f.path) == text);
}

TEST_CASE("dead letters: lines of the version before, and of others, are read") {
  const Folder f;
  write_file(f.path,
             "no json\n[1]\n{\"sink\":\"k\"}\n"
             R"({"at_us":1,"error":"e","incarnation":"","part":0,"payload":"AQ==","previous_token":"","sequence":4,)"
             R"("sink":"k","snap_token":"","tenant":"t","xid":9})"
             "\n");
  auto event = std::make_shared<sinks::Event>();
  event->tenant = "t";
  event->xid = 9;
  DeadLetterFile file(f.path);
  CHECK(file.holds("k", {event, 4, ""}).value());
  CHECK(file.append("k", {event, 5, ""}, f.reason, 7).ok());
  CHECK(f.lines().size() == 5);
}

TEST_CASE("dead letters: a file that was moved away is begun anew, and what it held is not repeated") {
  const Folder f;
  DeadLetterFile file(f.path);
  REQUIRE(file.append("k", delivery_of(5, 1), f.reason, 7).ok());
  std::filesystem::rename(f.path, f.path + ".1");
  CHECK(file.append("k", delivery_of(5, 1), f.reason, 7).ok());
  CHECK(file.append("k", delivery_of(6, 2), f.reason, 7).ok());
  CHECK(f.lines().size() == 1);
  CHECK(f.lines(f.path + ".1").size() == 1);
}

TEST_CASE("dead letters: a full disk is UNAVAILABLE, says so, and leaves no half line") {
  const Folder f;
  DeadLetterFile file(f.path);
  REQUIRE(file.append("k", delivery_of(5, 1), f.reason, 7).ok());
  const std::string text = read_file(f.path);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{text.size() + 100, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  const Status refused = file.append("k", delivery_of(6, 2, 1000), f.reason, 7);
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK(refused.code() == StatusCode::kUnavailable);
  CHECK_MESSAGE(message_of(refused).find("free some space") != std::string::npos, describe(refused));
  CHECK(read_file(f.path) == text);
  CHECK(file.append("k", delivery_of(6, 2, 1000), f.reason, 7).ok());
  CHECK(f.lines().size() == 2);
}

TEST_CASE("dead letters: a folder that is missing is UNAVAILABLE and names the file") {
  DeadLetterFile file("/nonexistent-folder/dead.jsonl");
  const Status refused = file.append("k", delivery_of(5, 1), invalid_argument("x"), 7);
  CHECK(refused.code() == StatusCode::kUnavailable);
  CHECK(message_of(refused).find("/nonexistent-folder/dead.jsonl") != std::string::npos);
  CHECK(file.holds("k", delivery_of(5, 1)).status().code() == StatusCode::kUnavailable);
  DeadLetterFile none("");
  CHECK_FALSE(none.holds("k", delivery_of(5, 1)).value());
}

TEST_CASE("dead letters: the newest are remembered, in bounded memory") {
  const Folder f;
  std::string text;
  const auto line = [](size_t i) {
    return fmt::format("{{\"sink\":\"k\",\"tenant\":\"t\",\"xid\":{},\"part\":0,\"sequence\":{}}}\n", i, i);
  };
  const size_t count = DeadLetterFile::kIndexedMax + 5;
  for (size_t i = 0; i < count; ++i) text += line(i);
  write_file(f.path, text);
  DeadLetterFile file(f.path);
  const auto held = [&](size_t i) {
    auto event = std::make_shared<sinks::Event>();
    event->tenant = "t";
    event->xid = i;
    return file.holds("k", {event, i, ""}).value();
  };
  CHECK(held(count - 1));
  CHECK(held(5));
  CHECK_FALSE(held(4));
}

TEST_SUITE_END();

}  // namespace headgate::relay
