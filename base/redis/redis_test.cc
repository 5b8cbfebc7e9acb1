#include <array>
#include <thread>

#include "base/redis/client.h"
#include "base/redis/errors.h"
#include "tests/support/redis_servers.h"
#include "tests/support/test_main.h"

namespace headgate::redis {
namespace {

using testing::redis_missing;
using testing::RedisCluster;
using testing::RedisNode;
using testing::RedisSentinels;
using testing::RedisTls;

using Words = std::vector<std::string_view>;

std::string fault_of(const ClientSettings& settings) {
  const auto faults = faults_of(settings);
  return faults.empty() ? "" : faults[0].first;
}

std::string text_in(const StatusOr<Reply>& reply) {
  return reply.ok() ? std::string(text_of(reply->get())) : describe(reply.status());
}

// What `client` has written to the server of `key` has reached its replica.
bool is_replicated(Client& client, std::string_view key) {
  const auto reply = client.command(key, Words{"WAIT", "1", "100"}, {});
  return reply.ok() && (*reply)->type == REDIS_REPLY_INTEGER && (*reply)->integer >= 1;
}

}  // namespace

TEST_SUITE("redis/values") {
  TEST_CASE("errors: what speaks of the server's state is tried again, and is no event's fault") {
    const auto code = [](std::string_view text) { return status_of_error(text, "h:1").code(); };
    for (const char* text :
         {"MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381", "CROSSSLOT Keys in request don't hash to one slot",
          "CLUSTERDOWN The cluster is down", "READONLY You can't write against a read only replica.",
          "LOADING Redis is loading the dataset in memory", "MASTERDOWN Link with MASTER is down",
          "NOREPLICAS Not enough good replicas to write.", "TRYAGAIN Multiple keys request during rehashing of slot",
          "BUSY Redis is busy running a script", "NOSCRIPT No matching script",
          "WRONGTYPE Operation against a key holding the wrong kind of value", "ERR something new"}) {
      CHECK_MESSAGE(code(text) == StatusCode::kUnavailable, text);
    }
    for (const char* text : {"NOPERM this user has no permissions to run the 'xadd' command",
                             "NOAUTH Authentication required.", "WRONGPASS invalid username-password pair",
                             "ERR The user executing the script can't run this command or subcommand"}) {
      CHECK_MESSAGE(code(text) == StatusCode::kPermissionDenied, text);
    }
    CHECK(code("OOM command not allowed when used memory > 'maxmemory'.") == StatusCode::kResourceExhausted);
    CHECK(code("ERR max number of clients reached") == StatusCode::kResourceExhausted);
    CHECK(code("MISCONF Redis is configured to save RDB snapshots") == StatusCode::kResourceExhausted);
    CHECK(code("ERR string exceeds maximum allowed size (512MB)") == StatusCode::kInvalidArgument);
    CHECK(message_of(status_of_error("MOVED 1 h:2", "h:1")).find("mode: cluster") != std::string::npos);
  }

  TEST_CASE("errors: a redirection names slot and server") {
    const auto moved = redirect_of("MOVED 3999 127.0.0.1:6381");
    REQUIRE(moved);
    CHECK_FALSE(moved->ask);
    CHECK(moved->slot == 3999);
    CHECK(moved->to == Address{"127.0.0.1", 6381});
    CHECK(redirect_of("ASK 7 ::1:6381")->to == Address{"::1", 6381});
    CHECK(redirect_of("MOVED 7 :6381")->to.host.empty());
    for (const char* odd : {"MOVED", "MOVED x 1:2", "MOVED 7", "MOVED 7 nowhere", "ERR"}) CHECK_FALSE(redirect_of(odd));
  }

  TEST_CASE("slots: are those of Redis") {
    CHECK(crc16("123456789") == 0x31c3);
    CHECK(slot_of("foo") == 12182);
    CHECK(hash_tag("hg:{7}:changes") == "7");
    CHECK(hash_tag("hg:{}:{7}") == "hg:{}:{7}");
    CHECK(slot_of("hg:{7}:changes") == slot_of("hg:{7}:position:t"));
  }

  TEST_CASE("settings: addresses of every form") {
    CHECK(*parse_address("h:1", 2) == Address{"h", 1});
    CHECK(*parse_address("h", 2) == Address{"h", 2});
    CHECK(*parse_address("[::1]:7", 2) == Address{"::1", 7});
    CHECK(*parse_address("::1", 2) == Address{"::1", 2});
    for (const char* odd : {"", "h:", "h:0", "h:x", "h:70000", "[::1", ":1"}) CHECK_FALSE(parse_address(odd, 2).ok());
  }

  TEST_CASE("settings: what cannot work together is named") {
    CHECK(fault_of({}) == "");
    ClientSettings s;
    SUBCASE("sentinel without sentinels") {
      s.mode = Mode::kSentinel;
      s.sentinel_master = "m";
      CHECK(fault_of(s) == "addresses");
    }
    SUBCASE("sentinel without a name") {
      s.mode = Mode::kSentinel;
      s.addresses = {"h:1"};
      CHECK(fault_of(s) == "sentinel_master");
    }
    SUBCASE("a cluster has one database") {
      s.mode = Mode::kCluster;
      s.addresses = {"h:1"};
      s.database = 3;
      CHECK(fault_of(s) == "database");
    }
    SUBCASE("addresses of a single server") {
      s.addresses = {"h:1"};
      CHECK(fault_of(s) == "addresses");
    }
    SUBCASE("an address that is none") {
      s.mode = Mode::kCluster;
      s.addresses = {"h:x"};
      CHECK(fault_of(s) == "addresses");
    }
    SUBCASE("a certificate without its key") {
      s.tls = {true, "", "c.pem", "", ""};
      CHECK(fault_of(s) == "tls_key_file");
    }
    SUBCASE("certificates that nobody uses") {
      s.tls.ca_file = "ca.pem";
      CHECK(fault_of(s) == "tls");
    }
    SUBCASE("a user without a password") {
      s.user = "u";
      CHECK(fault_of(s) == "password");
    }
    SUBCASE("files that are not there") {
      s.tls = {true, "/nonexistent/ca.pem", "", "", ""};
      CHECK(fault_of(s) == "");
      CHECK(message_of(check(s)).find("/nonexistent/ca.pem") != std::string::npos);
    }
  }
}

TEST_SUITE("redis/client") {
  TEST_CASE("client: a server that is not there is UNAVAILABLE, and a stop ends the wait for one that hangs") {
    if (redis_missing() != nullptr) HG_SKIP(redis_missing());
    ClientSettings settings;
    settings.port = static_cast<uint16_t>(testing::free_port());
    const Status absent = Client(settings).open({});
    CHECK(absent.code() == StatusCode::kUnavailable);
    CHECK(message_of(absent).find(std::to_string(settings.port)) != std::string::npos);
    settings.host = "no-such-host.invalid";
    settings.connect_timeout = Duration(1'000);
    CHECK(Client(settings).open({}).code() == StatusCode::kUnavailable);

    testing::TempFolder folder;
    RedisNode node(folder.path() + "/n", {});
    node.start();
    settings = {};
    settings.port = static_cast<uint16_t>(node.port());
    settings.command_timeout = Duration(60'000);
    Client client(settings);
    REQUIRE(client.open({}).ok());
    node.pause();
    std::stop_source stop;
    std::jthread stopper([&] {
      system_clock().sleep(Duration(100), {});
      stop.request_stop();
    });
    CHECK(client.command("k", Words{"GET", "k"}, stop.get_token()).status().code() == StatusCode::kCancelled);
    CHECK_FALSE(client.is_open());
    settings.connect_timeout = Duration(200);
    CHECK(Client(settings).open({}).code() == StatusCode::kUnavailable);
    node.resume();
  }

  TEST_CASE("client: a host may stand in brackets, as in front of a port") {
    if (redis_missing() != nullptr) HG_SKIP(redis_missing());
    const testing::TempFolder folder;
    RedisNode node(folder.path(), {});
    node.start();
    ClientSettings settings;
    settings.host = "[127.0.0.1]";
    settings.port = static_cast<uint16_t>(node.port());
    CHECK(Client(settings).open({}).ok());
  }

  TEST_CASE("client: misuse and a server that hangs up end in a status, and raise no signal") {
    if (redis_missing() != nullptr) HG_SKIP(redis_missing());
    testing::TempFolder folder;
    RedisNode node(folder.path() + "/n", {});
    node.start();
    ClientSettings settings;
    settings.port = static_cast<uint16_t>(node.port());
    Connection connection(settings, node.address(), {}, nullptr);
    connection.append(Words{"PING"});
    std::vector<Reply> replies;
    CHECK(connection.exchange(replies, {}).code() == StatusCode::kUnavailable);
    REQUIRE(connection.open({}).ok());
    node.kill();
    const std::string large(8 << 20, 'x');
    connection.append(Words{"SET", "k", large});
    connection.push();
    CHECK(connection.exchange(replies, {}).code() == StatusCode::kUnavailable);
  }

  TEST_CASE("client: TLS needs a server that proves who it is") {
    if (redis_missing() != nullptr) HG_SKIP(redis_missing());
    RedisTls tls;
    Client client(tls.settings());
    REQUIRE_MESSAGE(client.open({}).ok(), describe(client.open({})));
    const std::string large(3 << 20, 'x');
    CHECK(text_in(client.command("k", Words{"SET", "k", large}, {})) == "OK");
    CHECK(text_in(client.command("k", Words{"GET", "k"}, {})) == large);

    tls.make_other_authority();
    ClientSettings settings = tls.settings();
    settings.tls.ca_file = tls.file("other.pem");
    const Status stranger = Client(settings).open({});
    CHECK(stranger.code() == StatusCode::kUnavailable);
    CHECK_MESSAGE(message_of(stranger).find("tls_ca_file") != std::string::npos, message_of(stranger));
    settings = tls.settings();
    settings.tls.server_name = "redis.test";
    CHECK(Client(settings).open({}).ok());
    settings.tls.server_name = "another.test";
    CHECK(message_of(Client(settings).open({})).find("tls_server_name") != std::string::npos);
    settings = tls.settings();
    settings.tls.cert_file = settings.tls.key_file = "";
    CHECK(Client(settings).open({}).code() == StatusCode::kUnavailable);
    settings = tls.settings();
    settings.port = static_cast<uint16_t>(tls.node().port());  // plain text there
    CHECK(Client(settings).open({}).code() == StatusCode::kUnavailable);
  }

  TEST_CASE("client: Sentinel leads to the master, also when one sentinel is away and after a failover") {
    if (redis_missing() != nullptr) HG_SKIP(redis_missing());
    RedisSentinels sentinels;
    ClientSettings settings = sentinels.settings();
    sentinels.sentinel(0).kill();
    Client client(settings);
    // On a busy machine the sentinels may choose anew at any time.
    CHECK(testing::wait_until([&] { return text_in(client.command("k", Words{"SET", "k", "1"}, {})) == "OK"; }));
    settings.sentinel_master = "nobody";
    CHECK(message_of(Client(settings).open({})).find("knows no master 'nobody'") != std::string::npos);
    CHECK(testing::wait_until([&] { return is_replicated(client, "k"); }));
    sentinels.sentinel(0).start();
    sentinels.fail_over();
    CHECK(testing::wait_until([&] { return text_in(client.command("k", Words{"GET", "k"}, {})) == "1"; }));
  }

  TEST_CASE("client: a cluster is followed through slots that move and a master that dies") {
    if (redis_missing() != nullptr) HG_SKIP(redis_missing());
    RedisCluster cluster;
    Client client(cluster.settings());
    // Nodes that have not heard of each other's last step yet are UNAVAILABLE for a moment.
    const auto answers = [&](const char* key, const Words& words, const char* wanted) {
      return testing::wait_until([&] { return text_in(client.command(key, words, {})) == wanted; });
    };
    for (const char* key : {"a", "b", "c", "d", "{tag}1", "{tag}2"}) {
      CHECK(answers(key, Words{"SET", key, "1"}, "OK"));
    }
    const uint16_t slot = slot_of("{tag}");
    const size_t to = (cluster.owner(slot) + 1) % 3;
    cluster.migrate(slot, to, [&] {
      // Here or, behind ASK, there.
      CHECK(answers("{tag}1", Words{"GET", "{tag}1"}, "1"));
      CHECK(answers("{tag}2", Words{"GET", "{tag}2"}, "1"));
    });
    CHECK(cluster.owner(slot) == to);
    CHECK(answers("{tag}1", Words{"GET", "{tag}1"}, "1"));  // behind MOVED
    ClientSettings one;
    one.port = static_cast<uint16_t>(cluster.node((to + 1) % 3).port());
    const auto moved = Client(one).command("", Words{"GET", "{tag}1"}, {});
    CHECK(moved.status().code() == StatusCode::kUnavailable);
    CHECK(message_of(moved.status()).find("mode: cluster") != std::string::npos);
    // Replication is asynchronous; of the keys this one is the first master's.
    const char* const at_first = "b";
    CHECK(testing::wait_until([&] { return is_replicated(client, at_first); }));
    cluster.fail_over();
    for (const char* key : {"a", at_first, "c", "d", "{tag}1"}) {
      CAPTURE(std::string(key));
      CHECK(answers(key, Words{"GET", key}, "1"));
    }
  }
}

}  // namespace headgate::redis
