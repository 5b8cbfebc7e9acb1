// Clients of the engine's streams that misbehave: they do not read, or open and cancel streams in storms.
#include <functional>
#include <random>

#include "tests/robustness/pressure.h"
#include "tests/robustness/schedule.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_stubs.h"

TEST_SUITE("robustness/limits_watch") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using Clock = std::chrono::steady_clock;

  constexpr size_t kMiB = 1 << 20;
  const char* const kSmallEngine =
      "feed:\n  ring_bytes: 4MiB\nwatch:\n  buffer_bytes: 256KiB\n  opens_per_second: 100000\n  opens_burst: 100000\n";

  // A Watch stream that stands and is not read until read().
  class LazyReader {
   public:
    LazyReader(const std::string& address, const std::string& tenant) : client_(address) {
      base::v1::WatchRequest request;
      request.set_tenant_id(tenant);
      set_deadline(context_, 240s);
      stream_ = client_.stubs().watch->Watch(&context_, request);
      stream_->WaitForInitialMetadata();
    }
    // The hashes of the next `count` messages, fewer when the stream ended.
    std::vector<size_t> read(size_t count) {
      std::vector<size_t> hashes;
      base::v1::WatchResponse response;
      while (hashes.size() < count && stream_->Read(&response)) {
        hashes.push_back(std::hash<std::string>()(response.changes().SerializeAsString()));
      }
      return hashes;
    }

   private:
    EngineClient client_;
    grpc::ClientContext context_;
    std::unique_ptr<grpc::ClientReader<base::v1::WatchResponse>> stream_;
  };

  // What every lazy reader has to get.
  std::vector<size_t> hashes_of(const std::vector<base::v1::DataChanges>& messages, size_t from) {
    std::vector<size_t> hashes;
    for (size_t i = from; i < messages.size(); ++i) {
      hashes.push_back(std::hash<std::string>()(messages[i].SerializeAsString()));
    }
    return hashes;
  }

  TEST_CASE("slow readers: the engine stays small, others are not slowed, and they lose nothing when they read again") {
    constexpr size_t kBytes = 40'000, kCalm = 200, kAttack = 800, kLazy = 8;
    HG_WORLD(world, {.sinks = {}, .engine_yaml = kSmallEngine});
    world->create_tenants({"t"});
    WatchReader good(world->client(), "t", kBeginning);
    const auto write = [&](const char* prefix, size_t count, size_t total) {
      const auto begin = Clock::now();
      flood(world->database_uri(),
            {.tenant = "t", .prefix = prefix, .transactions = static_cast<int>(count), .bytes = kBytes});
      REQUIRE_MESSAGE(good.wait_for(total, 90s), good.count());
      return std::chrono::duration<double>(Clock::now() - begin);
    };
    const auto calm = write("calm", kCalm, kCalm);
    const pid_t engine = world->engine().pid();
    const size_t before = resident_bytes(engine);
    const MemoryPeak peak(engine);
    std::vector<std::unique_ptr<LazyReader>> lazy;
    for (size_t i = 0; i < kLazy; ++i) lazy.push_back(std::make_unique<LazyReader>(world->engine().address(), "t"));
    const auto attacked = write("attack", kAttack, kCalm + kAttack);
    CHECK(attacked < 3 * (calm / kCalm * kAttack) + 5s);
    MESSAGE("engine: " << before / kMiB << " MiB, at most " << peak.bytes() / kMiB << " MiB while nobody reads");
    CHECK_MESSAGE(memory_below(peak.bytes(), before + 16 * kMiB), (peak.bytes() - before));

    std::vector<std::vector<size_t>> got(kLazy);
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < kLazy; ++i) threads.emplace_back([&, i] { got[i] = lazy[i]->read(kAttack); });
    }
    const auto messages = good.messages();
    CHECK(check_stream(read_truth(world->database_uri()), "t", kBeginning, messages) == "");
    for (const auto& hashes : got) CHECK(hashes == hashes_of(messages, kCalm));
    // Each of the four readers of history holds a page of 2 MiB, as rows, as messages and as bytes.
    MESSAGE("engine: at most " << peak.bytes() / kMiB << " MiB while all read their history");
    CHECK_MESSAGE(memory_below(peak.bytes(), before + 64 * kMiB), (peak.bytes() - before));
  }

  int open_streams(World & world) {
    const int port = world.engine().admin_port();
    return static_cast<int>(metric(port, "headgate_engine_watch_streams{service=\"watch\"}") +
                            metric(port, "headgate_engine_watch_streams{service=\"feed\"}") +
                            metric(port, "headgate_engine_feed_streams"));
  }

  // Opens `count` streams of either kind; half of them end by their deadline, half are cancelled, some while they open.
  void storm(EngineClient & client, int count, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    std::vector<std::unique_ptr<grpc::ClientReader<base::v1::WatchResponse>>> watches;
    std::vector<std::unique_ptr<grpc::ClientReader<headgate::v1::FeedMessage>>> feeds;
    base::v1::WatchRequest watch;
    watch.set_tenant_id("t");
    watch.set_snap_token(kBeginning);
    headgate::v1::SubscribeRequest feed;
    feed.set_all_tenants(true);
    feed.set_default_start(headgate::v1::START_POLICY_EARLIEST);
    for (int i = 0; i < count; ++i) {
      contexts.push_back(std::make_unique<grpc::ClientContext>());
      set_deadline(*contexts.back(), std::chrono::milliseconds(i % 2 == 0 ? 1 + random() % 100 : 20'000));
      if (i % 4 < 2) {
        watches.push_back(client.stubs().watch->Watch(contexts.back().get(), watch));
      } else {
        feeds.push_back(client.stubs().feed->Subscribe(contexts.back().get(), feed));
      }
      if (i % 8 == 1) contexts.back()->TryCancel();
    }
    base::v1::WatchResponse response;
    for (size_t i = 0; i < watches.size(); i += 3) watches[i]->Read(&response);
    for (auto& context : contexts) context->TryCancel();
    for (auto& stream : watches) stream->Finish();
    for (auto& stream : feeds) stream->Finish();
  }

  TEST_CASE("storms: thousands of streams that end at once leave neither streams nor memory behind") {
    HG_WORLD(world, {.sinks = {}, .engine_yaml = kSmallEngine});
    world->create_tenants({"t"});
    flood(world->database_uri(), {.tenant = "t", .prefix = "old", .transactions = 100, .bytes = 10'000});
    EngineClient& client = world->client();
    const auto rounds = [&](int count, unsigned seed) {
      for (int round = 0; round < count; ++round) {
        std::vector<std::jthread> threads;
        for (unsigned thread = 0; thread < 4; ++thread) {
          threads.emplace_back([&, thread] { storm(client, 50, seed + 4 * round + thread); });
        }
      }
      CHECK(wait_until([&] { return open_streams(*world) == 0; }));
    };
    // What leaks grows with every storm; an allocator that settles, earlier or later, lets one pass without growing.
    constexpr int kStormsMax = 8;
    const auto end = Clock::now() + attack_time(0s);
    bool grew = true;
    size_t streams = 0;
    for (int storms = 0; storms < kStormsMax && (grew || Clock::now() < end); ++storms) {
      const size_t before = world->engine().resident_bytes();
      const auto storm_end = Clock::now() + attack_time(0s) / kStormsMax;
      do {
        rounds(8, 1 + static_cast<unsigned>(streams));
        streams += 1'600;
      } while (Clock::now() < storm_end);
      const size_t after = world->engine().resident_bytes();
      MESSAGE("engine: " << after / kMiB << " MiB after " << streams << " streams");
      grew = !memory_below(after, before + 4 * kMiB);
    }
    CHECK(!grew);
    WatchReader reader(client, "t", "");
    REQUIRE(reader.wait_open(5s));
    REQUIRE(client.write("t", {tuple_of("doc:1#owner@user:a")}).status.ok());
    CHECK(reader.wait_for(1, 5s));
  }
}
