// Three brokers whose leaders go away one after the other.
#include <thread>

#include "sinks/kafka/client.h"
#include "sinks/kafka/kafka_sink.h"
#include "sinks/kafka/topics.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/servers.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

constexpr int kBrokers = 3;
constexpr size_t kBatch = 90;
// The cluster notices after 3 s that a broker is gone (broker.session.timeout.ms), and elects.
constexpr std::chrono::seconds kFollowed{15};

bool answers(int port) {
  KafkaSettings settings;
  settings.brokers = fmt::format("127.0.0.1:{}", port);
  settings.connect_timeout = Duration(1'000);
  const auto client = make_producer(settings, nullptr, nullptr);
  return client.ok() && await_broker(client->get(), {}, settings, {}).ok();
}

// Each is broker and controller. Keeps its address and its data over kill() and start().
class KafkaCluster {
 public:
  explicit KafkaCluster(std::string jars) : jars_(std::move(jars)) {
    std::string voters;
    for (int i = 0; i < kBrokers; ++i) {
      ports_.push_back(testing::free_port());
      controllers_.push_back(testing::free_port());
      voters += fmt::format("{}{}@127.0.0.1:{}", i > 0 ? "," : "", i + 1, controllers_[i]);
    }
    for (int i = 0; i < kBrokers; ++i) {
      const std::string file = file_of(i);
      testing::write_file(
          file, fmt::format("process.roles=broker,controller\nnode.id={0}\ncontroller.quorum.voters={1}\n"
                            "listeners=PLAINTEXT://127.0.0.1:{2},CONTROLLER://127.0.0.1:{3}\n"
                            "advertised.listeners=PLAINTEXT://127.0.0.1:{2}\ncontroller.listener.names=CONTROLLER\n"
                            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
                            "log.dirs={4}/data{0}\noffsets.topic.num.partitions=1\n"
                            "transaction.state.log.replication.factor=3\ntransaction.state.log.min.isr=2\n"
                            "transaction.state.log.num.partitions=1\nauto.create.topics.enable=false\n"
                            "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n"
                            "num.io.threads=2\nnum.network.threads=2\nlog.cleaner.dedupe.buffer.size=8388608\n",
                            i + 1, voters, ports_[i], controllers_[i], folder_.path()));
      testing::Process format({.argv = {"java", "-XX:TieredStopAtLevel=1", "-cp", jars_, "kafka.tools.StorageTool",
                                        "format", "-t", "Kheadgatetestcluster1A", "-c", file},
                               .log_file = folder_.path() + "/format"});
      format.wait(std::chrono::seconds(60));
      servers_.push_back(nullptr);
    }
    for (int i = 0; i < kBrokers; ++i) start(i);
  }
  void start(int i) {
    servers_[i] = std::make_unique<testing::Process>(
        testing::Process::Options{.argv = {"java", "-Xms96m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                                           "-cp", jars_, "kafka.Kafka", file_of(i)},
                                  .log_file = fmt::format("{}/log{}", folder_.path(), i)});
  }
  void kill(int i) { servers_[i]->kill(); }
  bool up(int i) const { return answers(ports_[i]); }
  // Whether every replica of the topic has all there is.
  bool in_sync(const std::string& topic) const {
    KafkaSettings settings;
    settings.brokers = brokers();
    settings.connect_timeout = Duration(2'000);
    const auto client = make_producer(settings, nullptr, nullptr);
    if (!client.ok()) return false;
    const auto facts = await_topic(client->get(), topic, settings, {});
    return facts.ok() && facts->in_sync == kBrokers;
  }
  std::string brokers() const {
    std::string all;
    for (const int port : ports_) all += fmt::format("{}127.0.0.1:{}", all.empty() ? "" : ",", port);
    return all;
  }

 private:
  std::string file_of(int i) const { return fmt::format("{}/server{}.properties", folder_.path(), i); }

  const std::string jars_;
  testing::TempFolder folder_{"headgate-kafka-cluster"};
  std::vector<int> ports_, controllers_;
  std::vector<std::unique_ptr<testing::Process>> servers_;
};

// Writes batch after batch until it is told to stop, and knows how long the slowest took.
class Writer {
 public:
  Writer(Sink& sink, const std::vector<Delivery>& deliveries) : sink_(sink), deliveries_(deliveries) {}
  size_t done() const { return done_; }
  std::chrono::milliseconds slowest() const { return slowest_.load(); }
  // Whether so many more are written within two minutes.
  bool goes_on(size_t more) const {
    const size_t before = done_;
    testing::wait_until([&] { return done_ >= before + more || !complete_; }, std::chrono::seconds(120));
    return done_ >= before + more;
  }
  void stop() {
    thread_.request_stop();
    thread_.join();
  }

 private:
  void run(std::stop_token stop) {
    while (!stop.stop_requested() && complete_ && done_ + kBatch <= deliveries_.size()) {
      const auto start = std::chrono::steady_clock::now();
      complete_ = deliver_all(sink_, {&deliveries_[done_], kBatch}, std::chrono::seconds(110));
      slowest_ =
          std::max(slowest_.load(),
                   std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start));
      if (complete_) done_ += kBatch;
      testing::wait_until([&] { return stop.stop_requested(); }, std::chrono::milliseconds(100));
    }
  }

  Sink& sink_;
  const std::vector<Delivery>& deliveries_;
  std::atomic<size_t> done_ = 0;
  std::atomic<bool> complete_ = true;
  std::atomic<std::chrono::milliseconds> slowest_{std::chrono::milliseconds(0)};
  std::jthread thread_{[this](std::stop_token stop) { run(std::move(stop)); }};
};

// How many of `deliveries` were written while two of the brokers, one after the other, were killed and started again.
size_t deliver_through_kills(KafkaCluster& cluster, const std::string& topic, Sink& sink,
                             const std::vector<Delivery>& deliveries) {
  Writer writer(sink, deliveries);
  REQUIRE(writer.goes_on(5 * kBatch));
  for (int i = 0; i < 2; ++i) {
    cluster.kill(i);
    CHECK(writer.goes_on(10 * kBatch));
    cluster.start(i);
    CHECK(testing::wait_until([&] { return cluster.up(i) && cluster.in_sync(topic); }, std::chrono::seconds(90)));
  }
  CHECK(writer.goes_on(5 * kBatch));
  writer.stop();
  MESSAGE("the slowest batch took " << writer.slowest().count() << " ms");
  CHECK(writer.slowest() < kFollowed);
  return writer.done();
}

}  // namespace

TEST_SUITE("kafka/cluster") {
  TEST_CASE("kafka: leaders move because brokers are killed under load, and nothing is lost or out of order") {
    std::string reason;
    const std::string jars = kafka_class_path(&reason);
    if (jars.empty()) HG_SKIP(reason);
    KafkaCluster cluster(jars);
    for (int i = 0; i < kBrokers; ++i) {
      REQUIRE(testing::wait_until([&] { return cluster.up(i); }, std::chrono::seconds(90)));
    }
    for (const std::string_view mode : {kIdempotent, kTransactional}) {
      CAPTURE(mode);
      KafkaSettings settings;
      settings.brokers = cluster.brokers();
      settings.prefix = mode;
      settings.mode = mode;
      settings.create_topics = true;
      settings.partitions = 3;
      settings.replication_factor = 3;
      settings.topic_config = {{"min.insync.replicas", "2"}};
      settings.write_timeout = Duration(20'000);
      settings.recover_timeout = Duration(20'000);
      const auto sink = make_kafka_sink("kafka", {}, settings);
      REQUIRE(sink.ok());
      const auto deliveries = sample_deliveries({"a", "b", "c"}, 100'000, 60);
      const std::string topic = settings.prefix + ".permission-changes";
      const size_t written = deliver_through_kills(cluster, topic, **sink, deliveries);
      const auto subscriber = testing::subscribe_kafka(settings.brokers, topic);
      REQUIRE_MESSAGE(subscriber->wait_for(written, std::chrono::seconds(60)), subscriber->count());
      std::map<std::string, uint64_t> last;
      size_t repeats = 0;
      for (const auto& event : subscriber->received()) {
        CHECK(event.sequence <= last[event.tenant] + 1);
        repeats += event.sequence <= last[event.tenant] ? 1 : 0;
        last[event.tenant] = std::max(last[event.tenant], event.sequence);
      }
      for (const auto& entry : last) CHECK(entry.second == written / 3);
      CHECK(repeats == 0);
    }
  }
}

}  // namespace headgate::sinks
