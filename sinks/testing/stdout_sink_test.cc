#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/clock.h"
#include "sinks/log/log_sinks.h"
#include "sinks/testing/contract.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

using namespace std::chrono_literals;

// Standard output is a pipe while it lives; nothing may be asserted meanwhile, since doctest writes there too.
class OutputPipe {
 public:
  OutputPipe() {
    std::signal(SIGPIPE, SIG_IGN);
    std::fflush(stdout);
    before_ = ::dup(STDOUT_FILENO);
    if (::pipe(ends_) == 0) ::dup2(ends_[1], STDOUT_FILENO);
    ::close(ends_[1]);
  }
  ~OutputPipe() {
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
    close_reader();
  }

  void close_reader() {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ends_[0] = -1;
  }
  // What is in the pipe now.
  std::string read_all() const {
    std::string text;
    char block[4096];
    pollfd in{ends_[0], POLLIN, 0};
    while (::poll(&in, 1, 0) > 0 && (in.revents & POLLIN) != 0) {
      const ssize_t got = ::read(ends_[0], block, sizeof block);
      if (got <= 0) break;
      text.append(block, static_cast<size_t>(got));
    }
    return text;
  }

 private:
  int before_ = -1;
  int ends_[2] = {-1, -1};
};

std::unique_ptr<Sink> make() {
  auto sink = make_stdout_sink("stdout", {}, StdoutSettings{});
  REQUIRE(sink.ok());
  return *std::move(sink);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

}  // namespace

TEST_SUITE("log/stdout_sink") {
  TEST_CASE("stdout: each event is one line that a subscriber can decode, in order") {
    const auto sink = make();
    const auto deliveries = sample_deliveries({"a", "b"}, 20);
    WriteResult result;
    std::string text;
    {
      const OutputPipe pipe;
      if (sink->open({}).ok()) result = sink->write({deliveries, {}}, {});
      sink->close();
      text = pipe.read_all();
    }
    CHECK(result.status.ok());
    CHECK(result.written == 20);
    const auto lines = lines_of(text);
    REQUIRE(lines.size() == 20);
    for (size_t i = 0; i < lines.size(); ++i) {
      std::string error;
      const auto event = testing::decode_structured(lines[i], &error);
      REQUIRE_MESSAGE(event.has_value(), error);
      CHECK(event->tenant == deliveries[i].event->tenant);
      CHECK(event->sequence == deliveries[i].sequence);
      CHECK(event->changes.SerializeAsString() == deliveries[i].event->payload);
    }
  }

  TEST_CASE("stdout: a reader that hangs does not keep the sink from stopping, and a torn line is ended by the next") {
    const auto sink = make();
    const auto deliveries = sample_deliveries({"a"}, 40, 10'000);
    WriteResult hung, again;
    std::string text;
    const auto begin = std::chrono::steady_clock::now();
    std::chrono::steady_clock::duration took{};
    {
      const OutputPipe pipe;
      std::stop_source stop;
      std::jthread stopper([&] {
        std::stop_source never;
        system_clock().sleep(Duration(200), never.get_token());
        stop.request_stop();
      });
      hung = sink->write({deliveries, {}}, stop.get_token());
      took = std::chrono::steady_clock::now() - begin;
      text = pipe.read_all();
      again = sink->write({std::span(deliveries).subspan(hung.written, 2), {}}, {});
      text += pipe.read_all();
    }
    CHECK(hung.status.code() == StatusCode::kCancelled);
    CHECK(took < 5s);
    CHECK(hung.written > 0);
    CHECK(hung.written < 40);
    REQUIRE(again.written == 2);
    // The whole lines, the torn one, and its repetition.
    const auto lines = lines_of(text);
    REQUIRE(lines.size() >= hung.written + 2);
    for (size_t i = 0; i < hung.written; ++i) CHECK(testing::decode_structured(lines[i], nullptr).has_value());
    const auto repeated = testing::decode_structured(lines[lines.size() - 2], nullptr);
    REQUIRE(repeated.has_value());
    CHECK(repeated->sequence == deliveries[hung.written].sequence);
  }

  TEST_CASE("stdout: a reader that has gone is UNAVAILABLE, and nothing counts as written") {
    const auto sink = make();
    const auto deliveries = sample_deliveries({"a"}, 3);
    WriteResult result;
    {
      OutputPipe pipe;
      pipe.close_reader();
      result = sink->write({deliveries, {}}, {});
    }
    CHECK(result.written == 0);
    CHECK(result.status.code() == StatusCode::kUnavailable);
    CHECK(message_of(result.status).find("standard output") != std::string::npos);
  }
}

}  // namespace headgate::sinks
