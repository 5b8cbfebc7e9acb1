#include "tests/robustness/http2_floods.h"

#include <fmt/format.h>

#include <thread>

#include "tests/robustness/pressure.h"
#include "tests/robustness/schedule.h"
#include "tests/robustness/stranger.h"
#include "tests/support/world.h"

namespace headgate::testing {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr size_t kFloodMiB = 1 << 20;
// Twice what a machine with nothing else to do shows: here the attackers, and other tests, have the same two cores.
constexpr HttpFlood::Bounds kLittle{128 * kFloodMiB, 4s, 2s};
constexpr HttpFlood::Bounds kMuch{256 * kFloodMiB, 5s, 5s};

// One attacker: connects again whenever he was sent away.
void attack(int port, const HttpFlood& flood, bool tls, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    Stranger one(port, "127.0.0.2", tls);
    uint32_t stream = 1;
    bool open = one.connected() && one.say(http2::preface());
    while (open && !stop.stop_requested()) {
      open = one.say(flood.wave(stream));
      if (open && flood.reads) open = one.listen();
    }
    // As quickly as the machine lets it, but not all of the machine.
    if (one.connected()) one.ended_within(5ms);
  }
}

std::string fresh_call(uint32_t stream) {
  return http2::frame(http2::kHeaders, http2::kEndHeaders, stream, http2::fields());
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

HttpFlood always(const std::string& name, const std::string& bytes, bool reads) {
  return {name, [bytes](uint32_t&) { return bytes; }, kLittle, reads};
}

}  // namespace

HttpFlood rapid_reset() {
  const auto wave = [](uint32_t& stream) {
    std::string bytes;
    for (int i = 0; i < 200; ++i, stream += 2) {
      bytes += fresh_call(stream) + http2::frame(http2::kReset, 0, stream, std::string("\0\0\0\x08", 4));
    }
    return bytes;
  };
  return {"rapid reset", wave, kMuch};
}

HttpFlood open_streams() {
  const auto wave = [](uint32_t& stream) {
    std::string bytes;
    for (int i = 0; i < 200; ++i, stream += 2) bytes += fresh_call(stream);
    return bytes;
  };
  return {"open streams", wave, kMuch};
}

std::vector<HttpFlood> pings_and_settings() {
  return {always("ping", repeated(http2::frame(http2::kPing, 0, 0, std::string(8, 'p')), 500), false),
          always("settings", repeated(http2::frame(http2::kSettings, 0, 0, ""), 500), false)};
}

std::vector<HttpFlood> empty_frames() {
  const auto data = [](uint32_t& stream) {
    std::string bytes = stream == 1 ? fresh_call(1) : "";
    stream = 3;
    return bytes + repeated(http2::frame(http2::kData, 0, 1, ""), 500);
  };
  return {{"empty data", data, kLittle, true},
          always("window", repeated(http2::frame(http2::kWindow, 0, 0, std::string("\0\0\0\x01", 4)), 500), true),
          always("priority", repeated(http2::frame(http2::kPriority, 0, 1, std::string(5, '\0')), 500), true)};
}

std::vector<HttpFlood> endless_headers() {
  const std::string piece = repeated(http2::field("x", std::string(1'000, 'v')), 16);
  const auto fields = [piece](uint32_t& stream) {
    if (stream == 1) {
      stream = 3;
      return http2::frame(http2::kHeaders, 0, 1, http2::fields());
    }
    return http2::frame(http2::kContinuation, 0, 1, piece);
  };
  // The name of one field, which is said to have a gigabyte.
  const auto word = [](uint32_t& stream) {
    if (stream == 1) {
      stream = 3;
      return http2::frame(http2::kHeaders, 0, 1, std::string("\0\x7f\xff\xff\xff\xff\x03", 7));
    }
    return http2::frame(http2::kContinuation, 0, 1, std::string(16'000, 'n'));
  };
  return {{"continuation", fields, kLittle}, {"one long word", word, kLittle}};
}

HttpFlood much_metadata() {
  const std::string much = repeated(http2::field("x", std::string(900, 'v')), 7);
  const auto wave = [much](uint32_t& stream) {
    std::string bytes;
    for (int i = 0; i < 20; ++i, stream += 2) {
      bytes += http2::frame(http2::kHeaders, http2::kEndHeaders, stream, http2::fields() + much) +
               http2::frame(http2::kData, http2::kEndStream, stream, std::string(5, '\0'));
    }
    return bytes;
  };
  return {"metadata", wave, kMuch, true};
}

void survive_flood(const HttpFlood& flood, bool tls) {
  CAPTURE(flood.name);
  CAPTURE(tls);
  HG_POSTGRES(database);
  const TempFolder folder("headgate-floods");
  const Certificate certificate(folder.path());
  if (tls && !certificate.made()) HG_SKIP("no openssl program to make certificates with");
  const std::string trusted = tls ? certificate.pem() : "";
  EngineProgram engine(folder.path(), {.database_uri = database->uri(), .more_yaml = tls ? certificate.yaml() : ""});
  engine.start();
  const auto client_waits = [&](std::chrono::milliseconds limit) {
    return time_of_new_client(engine.address(), limit, trusted);
  };
  REQUIRE(client_waits(5s) < 5s);
  const int port = port_of(engine.address());
  const size_t before = engine.resident_bytes();
  std::chrono::milliseconds slowest{0};
  {
    const MemoryPeak peak(engine.pid());
    {
      std::vector<std::jthread> attackers;
      for (int i = 0; i < 4; ++i) {
        attackers.emplace_back([&](const std::stop_token& stop) { attack(port, flood, tls, stop); });
      }
      const auto until = steady_clock::now() + attack_time(3s);
      while (steady_clock::now() < until) slowest = std::max(slowest, client_waits(10s));
    }
    const auto after = client_waits(10s);
    MESSAGE(fmt::format("{}{}: +{} MiB, new client {} ms during, {} ms after", flood.name, tls ? " by TLS" : "",
                        (peak.bytes() - before) / kFloodMiB, slowest.count(), after.count()));
    CHECK(slowest < flood.bounds.during);
    CHECK(after < flood.bounds.after);
    CHECK(memory_below(peak.bytes(), before + flood.bounds.memory));
  }
  CHECK(wait_until([&] { return http_get(engine.admin_port(), "/readyz").has_value(); }));
  print_logs_on_failure(folder.path());
}

}  // namespace headgate::testing
