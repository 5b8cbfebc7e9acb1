#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "sinks/log/line_file.h"
#include "sinks/log/log_sinks.h"
#include "sinks/testing/contract.h"
#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

std::unique_ptr<Sink> make(const std::string& path, uint64_t rotate_bytes = 0, int keep = 2) {
  FileSettings settings;
  settings.path = path;
  settings.rotate_bytes = rotate_bytes;
  settings.rotate_keep = keep;
  auto sink = make_file_sink("file", {}, settings);
  REQUIRE(sink.ok());
  return *std::move(sink);
}

struct Place {
  testing::TempFolder folder{"headgate-file"};
  std::string path = folder.path() + "/events.jsonl";
  Contract contract{.make = [this] { return sinks::make(path); },
                    .make_limited = {},
                    .make_absent = [this] { return sinks::make(folder.path() + "/absent/events.jsonl"); },
                    .subscribe = [this] { return testing::subscribe_file(path); },
                    .kill = {},
                    .start = {},
                    .pause = {},
                    .resume = {}};
};

// While it lives no file may grow beyond `bytes`: a full disk without a disk.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_SUITE("log/file_sink") {
  TEST_CASE("file: keeps the order per tenant") { check_order_per_tenant(Place().contract); }
  TEST_CASE("file: may be closed at any time") { check_close(Place().contract); }
  TEST_CASE("file: a folder that is not there is UNAVAILABLE") { check_absent_server(Place().contract); }
  TEST_CASE("file: a repeated batch loses nothing") { check_repeated_batch(Place().contract); }
  TEST_CASE("file: tells the last event after it was opened again") { check_recover(Place().contract); }
  TEST_CASE("file: takes control events") { check_control_events(Place().contract); }
  TEST_CASE("file: heartbeats are lines that nobody takes for a place") { check_heartbeats(Place().contract); }
  TEST_CASE("file: finds tenants without a cursor") {
    Place place;
    const auto deliveries = sample_deliveries({"t1", "t2"}, 8);
    const auto sink = place.contract.make();
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({deliveries, {}}, {}).written == 8);
    CHECK(sink->recover({}, {})->size() == 2);
    const auto beside = sink->recover({{"t2", cursor_of(deliveries[7])}}, {});
    CHECK(beside->count("t2") == 1);
    // Whoever commits t2's last event has committed t1's, which stands before it.
    const auto newer = sample_deliveries({"t3"}, 1);
    REQUIRE(sink->write({newer, {}}, {}).written == 1);
    CHECK(sink->recover({{"t2", cursor_of(deliveries[7])}}, {})->count("t3") == 1);
  }
  TEST_CASE("file: knows how far a snapshot came") { check_recover_in_snapshot(Place().contract); }

  TEST_CASE("file: a torn last line is cut off and not told") {
    const Place place;
    const auto deliveries = sample_deliveries({"t"}, 3);
    const auto sink = make(place.path);
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({deliveries, {}}, {}).written == 3);
    sink->close();
    std::ofstream(place.path, std::ios::app) << "{\"specversion\":\"1.0\",\"id\":\"t/9";
    REQUIRE(sink->open({}).ok());
    const auto held = sink->recover({{"t", {}}}, {});
    REQUIRE(held.ok());
    CHECK(held->at("t") == cursor_of(deliveries[2]));
    const auto more = sample_deliveries({"t"}, 4);
    REQUIRE(sink->write({std::span(more).subspan(3), {}}, {}).written == 1);
    const auto subscriber = testing::subscribe_file(place.path);
    REQUIRE(subscriber->wait_for(4, std::chrono::seconds(5)));
    CHECK(subscriber->faults().empty());
  }

  TEST_CASE("file: a full disk is RESOURCE_EXHAUSTED, and nothing is lost when there is space again") {
    const Place place;
    const auto deliveries = sample_deliveries({"t"}, 100);
    const auto sink = make(place.path);
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({std::span(deliveries).first(10), {}}, {}).written == 10);
    WriteResult result;
    {
      const SizeLimit limit(std::filesystem::file_size(place.path) + 777);
      result = sink->write({std::span(deliveries).subspan(10), {}}, {});
    }
    CHECK(result.status.code() == StatusCode::kResourceExhausted);
    CHECK(result.written == 0);
    const std::string text = testing::read_file(place.path);
    CHECK(text.back() == '\n');
    CHECK(std::count(text.begin(), text.end(), '\n') == 10);
    CHECK(deliver_all(*sink, std::span(deliveries).subspan(10), std::chrono::seconds(5)));
    const auto subscriber = testing::subscribe_file(place.path);
    REQUIRE(subscriber->wait_for(100, std::chrono::seconds(5)));
    CHECK(subscriber->count() == 100);
    CHECK(subscriber->faults().empty());
  }

  TEST_CASE("file: a second writer is refused") {
    const Place place;
    const auto first = make(place.path);
    const auto second = make(place.path);
    REQUIRE(first->open({}).ok());
    CHECK(second->open({}).code() == StatusCode::kUnavailable);
    first->close();
    CHECK(second->open({}).ok());
  }

  TEST_CASE("file: rotates by size and still tells the last event") {
    const Place place;
    const auto deliveries = sample_deliveries({"t"}, 40);
    const auto sink = make(place.path, 4'000);
    REQUIRE(sink->open({}).ok());
    for (size_t i = 0; i < 40; i += 10) REQUIRE(sink->write({{&deliveries[i], 10}, {}}, {}).written == 10);
    CHECK(std::filesystem::exists(place.path + ".1"));
    CHECK(std::filesystem::exists(place.path + ".2"));
    CHECK(!std::filesystem::exists(place.path + ".3"));
    const auto held = sink->recover({{"t", {}}}, {});
    REQUIRE(held.ok());
    CHECK(held->at("t") == cursor_of(deliveries[39]));
  }

  TEST_CASE("lines from the end: the same for every length around the block size") {
    const testing::TempFolder folder("headgate-lines");
    for (const size_t length : {1UL, 10UL, 65'534UL, 65'535UL, 65'536UL, 65'537UL, 200'000UL}) {
      const std::string path = folder.path() + "/" + std::to_string(length);
      const std::string first(length, 'a');
      testing::write_file(path, first + "\n\nbb\ntorn");
      std::vector<std::string> lines;
      REQUIRE(for_lines_from_end(path, 1 << 20, [&](std::string_view line) {
                lines.emplace_back(line);
                return true;
              }).ok());
      REQUIRE(lines.size() >= 3);
      CHECK(lines[lines.size() - 3] == "bb");
      CHECK(lines[lines.size() - 2].empty());
      CHECK(lines.back() == first);
    }
  }
}

}  // namespace headgate::sinks
