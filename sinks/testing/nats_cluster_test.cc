// A stream on three servers whose leader goes away.
#include <thread>

#include "sinks/nats/connection.h"
#include "sinks/testing/nats_rig.h"

namespace headgate::sinks {
namespace {

constexpr int kServers = 3;

// Three servers on free ports of the loopback, one cluster. Started one by one, and each again at its place.
class NatsCluster {
 public:
  NatsCluster() {
    for (int i = 0; i < kServers; ++i) {
      ports_.push_back(testing::free_port());
      routes_.push_back(testing::free_port());
    }
    for (int i = 0; i < kServers; ++i) {
      std::string others;
      for (int j = 0; j < kServers; ++j) others += fmt::format("{}nats://127.0.0.1:{}", j > 0 ? ", " : "", routes_[j]);
      testing::write_file(conf(i), fmt::format("server_name: n{0}\nlisten: 127.0.0.1:{1}\njetstream {{store_dir: "
                                               "\"{2}/js{0}\"}}\ncluster {{name: c, listen: 127.0.0.1:{3}, routes: "
                                               "[{4}]}}\n",
                                               i, ports_[i], folder_.path(), routes_[i], others));
      servers_.push_back(nullptr);
      start(i);
    }
  }
  void start(int i) {
    servers_[i] = std::make_unique<testing::Process>(testing::Process::Options{
        .argv = {"nats-server", "-c", conf(i)}, .log_file = fmt::format("{}/log{}", folder_.path(), i)});
  }
  void kill(int i) { servers_[i]->kill(); }
  std::string urls() const {
    std::string all;
    for (const int port : ports_) all += fmt::format("{}nats://127.0.0.1:{}", all.empty() ? "" : ",", port);
    return all;
  }
  std::string address(int i) const { return fmt::format("127.0.0.1:{}", ports_[i]); }

  // Who leads the stream, by the word of whoever answers; -1 while nobody does, or while a replica is behind.
  int leader_of(const std::string& stream, bool all_current = false) const {
    NatsConnectionSettings settings;
    settings.url = urls();
    const auto connection = connect_to_nats(settings);
    if (!connection.ok()) return -1;
    jsCtx* context = nullptr;
    if (natsConnection_JetStream(&context, connection->get(), nullptr) != NATS_OK) return -1;
    const NatsOwned<jsCtx> owned(context);
    jsStreamInfo* raw = nullptr;
    if (js_GetStreamInfo(&raw, context, stream.c_str(), nullptr, nullptr) != NATS_OK) return -1;
    const NatsOwned<jsStreamInfo> info(raw);
    for (int i = 0; all_current && raw->Cluster != nullptr && i < raw->Cluster->ReplicasLen; ++i) {
      if (!raw->Cluster->Replicas[i]->Current || raw->Cluster->Replicas[i]->Offline) return -1;
    }
    const char* leader = raw->Cluster == nullptr ? nullptr : raw->Cluster->Leader;
    return leader == nullptr || leader[0] != 'n' ? -1 : leader[1] - '0';
  }

 private:
  std::string conf(int i) const { return fmt::format("{}/n{}.conf", folder_.path(), i); }

  testing::TempFolder folder_{"headgate-nats-cluster"};
  std::vector<int> ports_, routes_;
  std::vector<std::unique_ptr<testing::Process>> servers_;
};

}  // namespace

TEST_SUITE("nats/cluster") {
  TEST_CASE("jetstream: a stream on three servers loses its leader twice under load, and nothing is lost or repeated") {
    std::string reason;
    if (nats(&reason) == nullptr) HG_SKIP(reason);
    NatsCluster cluster;
    JetStreamSettings settings;
    settings.connection.url = cluster.urls();
    settings.stream = "R3";
    settings.prefix = "r3";
    settings.create_stream = true;
    settings.replicas = kServers;
    settings.ack_timeout = Duration(2'000);
    const auto sink = *make_jetstream_sink("nats", {}, settings);
    Status opened;
    REQUIRE_MESSAGE(testing::wait_until([&] { return (opened = sink->open({})).ok(); }, std::chrono::seconds(40)),
                    describe(opened));
    const auto deliveries = sample_deliveries({"a", "b", "c"}, 12'000, 60);
    std::atomic<size_t> done = 0;
    std::atomic<bool> complete = true;
    std::jthread writer([&] {
      for (size_t at = 0; at < deliveries.size() && complete; at += 500) {
        complete = deliver_all(*sink, {&deliveries[at], 500}, std::chrono::seconds(90));
        done = at + 500;
        testing::wait_until([] { return false; }, std::chrono::milliseconds(20));
      }
    });
    for (const size_t after : {2'000, 6'000}) {
      REQUIRE(testing::wait_until([&] { return done >= after || !complete; }, std::chrono::seconds(90)));
      int leader = -1;
      REQUIRE(
          testing::wait_until([&] { return (leader = cluster.leader_of("R3", true)) >= 0; }, std::chrono::seconds(60)));
      cluster.kill(leader);
      REQUIRE(testing::wait_until(
          [&] {
            const int next = cluster.leader_of("R3");
            return next >= 0 && next != leader;
          },
          std::chrono::seconds(90)));
      cluster.start(leader);
    }
    writer.join();
    REQUIRE(complete);
    REQUIRE(testing::wait_until([&] { return cluster.leader_of("R3") >= 0; }, std::chrono::seconds(30)));
    // A consumer on a server that was just started may stand still; what is stored is what another one sees.
    std::unique_ptr<testing::Subscriber> subscriber;
    bool all = false;
    for (int attempt = 0; attempt < 2 * kServers && !all; ++attempt) {
      subscriber = testing::subscribe_jetstream(cluster.address(attempt % kServers), "R3", "r3.>");
      all = subscriber->wait_for(deliveries.size(), std::chrono::seconds(10));
    }
    REQUIRE_MESSAGE(all, subscriber->count());
    std::map<std::string, uint64_t> last;
    for (const auto& event : subscriber->received()) CHECK(event.sequence == ++last[event.tenant]);
    CHECK(subscriber->count() == deliveries.size());
  }

  TEST_CASE("jetstream: several replicas on one server are refused as what they are, and asked for again") {
    HG_NATS(server);
    JetStreamSettings settings;
    settings.connection.url = "nats://" + server.address();
    settings.stream = "R3alone";
    settings.prefix = "r3alone";
    settings.create_stream = true;
    settings.replicas = kServers;
    const Status status = (*make_jetstream_sink("nats", {}, settings))->open({});
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK_MESSAGE(message_of(status).find("lower replicas") != std::string::npos, describe(status));
  }
}

}  // namespace headgate::sinks
