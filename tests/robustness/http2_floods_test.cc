// Floods of HTTP/2 frames at the engine's port, by clients without a key: memory stays bounded, others are served.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "base/v1/service.grpc.pb.h"
#include "tests/robustness/pressure.h"
#include "tests/robustness/schedule.h"
#include "tests/robustness/stranger.h"
#include "tests/support/engine_client.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr size_t kMiB = 1 << 20;

// What a flood is made of: the next bytes of one connection.
using Wave = std::function<std::string(uint32_t& stream)>;

struct Bounds {
  size_t memory;
  std::chrono::milliseconds during;
  std::chrono::milliseconds after;
};
// Twice what a machine with nothing else to do shows: here the attackers, and other tests, have the same two cores.
constexpr Bounds kLittle{128 * kMiB, 4s, 2s};

int number_of_port(const EngineProgram& engine) {
  return std::stoi(engine.address().substr(engine.address().rfind(':') + 1));
}

// One attacker: connects again whenever he was sent away.
void attack(int port, const Wave& wave, bool reads, std::stop_token stop) {
  while (!stop.stop_requested()) {
    Stranger one(port);
    uint32_t stream = 1;
    bool open = one.connected() && one.say(http2::preface());
    while (open && !stop.stop_requested()) {
      open = one.say(wave(stream));
      if (open && reads) open = one.listen();
    }
    // As quickly as the machine lets it, but not all of the machine.
    one.ended_within(5ms);
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

// By a connection of its own, as if each came for the first time.
bool write_note(const EngineProgram& engine, const std::string& tenant, int number, size_t bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(engine.address(), grpc::InsecureChannelCredentials(), arguments);
  base::v1::DataWriteRequest request;
  request.set_tenant_id(tenant);
  request.mutable_metadata();
  base::v1::Attribute& note = *request.add_attributes();
  note.mutable_entity()->set_type("doc");
  note.mutable_entity()->set_id(std::to_string(number));
  note.set_attribute("note");
  base::v1::StringValue value;
  value.set_data(std::string(bytes, 'n'));
  note.mutable_value()->PackFrom(value);
  base::v1::DataWriteResponse response;
  grpc::ClientContext context;
  set_deadline(context);
  const grpc::Status status = base::v1::Data::NewStub(channel)->Write(&context, request, &response);
  // The database may find that writes at the same time cannot be serialised.
  return status.ok() || status.error_code() == grpc::StatusCode::INTERNAL;
}

void flood_and_measure(const std::string& name, const Wave& wave, Bounds bounds, bool reads = false) {
  CAPTURE(name);
  HG_POSTGRES(database);
  const TempFolder folder("headgate-floods");
  EngineProgram engine(folder.path(), {.database_uri = database->uri()});
  engine.start();
  REQUIRE(time_of_new_client(engine.address(), 5s) < 5s);
  const size_t before = engine.resident_bytes();
  std::chrono::milliseconds slowest{0};
  {
    const MemoryPeak peak(engine.pid());
    {
      std::vector<std::jthread> attackers;
      for (int i = 0; i < 4; ++i) {
        attackers.emplace_back([&](std::stop_token stop) { attack(number_of_port(engine), wave, reads, stop); });
      }
      const auto until = steady_clock::now() + attack_time(3s);
      while (steady_clock::now() < until) slowest = std::max(slowest, time_of_new_client(engine.address(), 10s));
    }
    const auto after = time_of_new_client(engine.address(), 10s);
    MESSAGE(fmt::format("{}: +{} MiB, new client {} ms during, {} ms after", name, (peak.bytes() - before) / kMiB,
                        slowest.count(), after.count()));
    CHECK(slowest < bounds.during);
    CHECK(after < bounds.after);
    CHECK(memory_below(peak.bytes(), before + bounds.memory));
  }
  CHECK(wait_until([&] { return http_get(engine.admin_port(), "/readyz").has_value(); }));
  print_logs_on_failure(folder.path());
}

}  // namespace

TEST_SUITE("robustness/http2_floods") {
  TEST_CASE("http2 floods: streams that are opened and reset at once") {
    const Wave wave = [](uint32_t& stream) {
      std::string bytes;
      for (int i = 0; i < 200; ++i, stream += 2) {
        bytes += fresh_call(stream) + http2::frame(http2::kReset, 0, stream, std::string("\0\0\0\x08", 4));
      }
      return bytes;
    };
    flood_and_measure("rapid reset", wave, {256 * kMiB, 5s, 5s});
  }

  TEST_CASE("http2 floods: streams that are opened and left") {
    const Wave wave = [](uint32_t& stream) {
      std::string bytes;
      for (int i = 0; i < 200; ++i, stream += 2) bytes += fresh_call(stream);
      return bytes;
    };
    flood_and_measure("open streams", wave, {256 * kMiB, 5s, 5s});
  }

  TEST_CASE("http2 floods: pings and settings, answers to which nobody reads") {
    const std::string pings = repeated(http2::frame(http2::kPing, 0, 0, std::string(8, 'p')), 500);
    const std::string settings = repeated(http2::frame(http2::kSettings, 0, 0, ""), 500);
    flood_and_measure(
        "ping", [&](uint32_t&) { return pings; }, kLittle);
    flood_and_measure(
        "settings", [&](uint32_t&) { return settings; }, kLittle);
  }

  TEST_CASE("http2 floods: frames that say nothing on a stream, or to nobody") {
    const std::string windows = repeated(http2::frame(http2::kWindow, 0, 0, std::string("\0\0\0\x01", 4)), 500);
    const std::string priorities = repeated(http2::frame(http2::kPriority, 0, 1, std::string(5, '\0')), 500);
    const Wave empty = [](uint32_t& stream) {
      std::string bytes = stream == 1 ? fresh_call(1) : "";
      stream = 3;
      return bytes + repeated(http2::frame(http2::kData, 0, 1, ""), 500);
    };
    flood_and_measure("empty data", empty, kLittle, true);
    flood_and_measure(
        "window", [&](uint32_t&) { return windows; }, kLittle, true);
    flood_and_measure(
        "priority", [&](uint32_t&) { return priorities; }, kLittle, true);
  }

  TEST_CASE("http2 floods: headers that never end") {
    const std::string piece = repeated(http2::field("x", std::string(1'000, 'v')), 16);
    const Wave fields = [&](uint32_t& stream) {
      if (stream == 1) {
        stream = 3;
        return http2::frame(http2::kHeaders, 0, 1, http2::fields());
      }
      return http2::frame(http2::kContinuation, 0, 1, piece);
    };
    // The name of one field, which is said to have a gigabyte.
    const Wave word = [&](uint32_t& stream) {
      if (stream == 1) {
        stream = 3;
        return http2::frame(http2::kHeaders, 0, 1, std::string("\0\x7f\xff\xff\xff\xff\x03", 7));
      }
      return http2::frame(http2::kContinuation, 0, 1, std::string(16'000, 'n'));
    };
    flood_and_measure("continuation", fields, kLittle);
    flood_and_measure("one long word", word, kLittle);
  }

  TEST_CASE("http2 floods: clients that write much at once are no flood") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-floods");
    EngineProgram engine(folder.path(), {.database_uri = database->uri()});
    engine.start();
    EngineClient setup(engine.address());
    for (int i = 0; i < 12; ++i) {
      setup.create_tenant("w" + std::to_string(i), "entity user {}\nentity doc {\n  attribute note string\n}\n");
    }
    std::atomic<int> written = 0, failed = 0;
    {
      std::vector<std::jthread> writers;
      for (int i = 0; i < 12; ++i) {
        writers.emplace_back([&, i] {
          for (int n = 0; n < 6; ++n) (write_note(engine, "w" + std::to_string(i), n, 900'000) ? written : failed) += 1;
        });
      }
    }
    CHECK(failed == 0);
    CHECK(written == 12 * 6);
    CHECK(metric(engine.admin_port(), "headgate_engine_connections_ended_for_memory_total") == 0);
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("http2 floods: calls with all the metadata they may have") {
    const std::string much = repeated(http2::field("x", std::string(900, 'v')), 7);
    const Wave wave = [&](uint32_t& stream) {
      std::string bytes;
      for (int i = 0; i < 20; ++i, stream += 2) {
        bytes += http2::frame(http2::kHeaders, http2::kEndHeaders, stream, http2::fields() + much) +
                 http2::frame(http2::kData, http2::kEndStream, stream, std::string(5, '\0'));
      }
      return bytes;
    };
    flood_and_measure("metadata", wave, {256 * kMiB, 5s, 5s}, true);
  }
}
