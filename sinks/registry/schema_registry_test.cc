#include "sinks/registry/schema_registry.h"

// As Debian builds the library; the layout of its classes depends on it.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/mutex.h"
#include "sinks/registry/registered_sink.h"
#include "sinks/testing/fake_sink.h"
#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

// Speaks as a registry does, and remembers what it was asked.
class FakeRegistry {
 public:
  using Answer = std::function<void(const httplib::Request&, httplib::Response&)>;

  explicit FakeRegistry(Answer answer) {
    server_.Post(".*", [this, answer](const httplib::Request& request, httplib::Response& response) {
      {
        MutexLock lock(mutex_);
        requests_.push_back(request);
      }
      answer(request, response);
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::jthread([this] { server_.listen_after_bind(); });
    REQUIRE(testing::wait_until([this] { return server_.is_running(); }));
  }
  ~FakeRegistry() { server_.stop(); }

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }
  std::vector<httplib::Request> requests() const {
    MutexLock lock(mutex_);
    return requests_;
  }

 private:
  httplib::Server server_;
  mutable Mutex mutex_;
  std::vector<httplib::Request> requests_ GUARDED_BY(mutex_);
  int port_ = 0;
  std::jthread thread_;
};

FakeRegistry::Answer answering(int status, const std::string& body) {
  return [=](const httplib::Request&, httplib::Response& response) {
    response.status = status;
    response.set_content(body, "application/vnd.schemaregistry.v1+json");
  };
}

SchemaRegistrySettings settings_for(const FakeRegistry& registry) {
  SchemaRegistrySettings settings;
  settings.url = registry.url();
  settings.timeout = Duration(2'000);
  return settings;
}

StatusCode code_after(int status, const std::string& body) {
  FakeRegistry registry(answering(status, body));
  return register_schema(settings_for(registry), "x", {}).status().code();
}

}  // namespace

TEST_SUITE("registry/schema_registry") {
  TEST_CASE("schema: is the file that subscribers get") {
    std::ifstream in(HEADGATE_EVENT_PROTO);
    std::stringstream text;
    text << in.rdbuf();
    CHECK(event_schema() == text.str());
    CHECK(event_schema().find("import ") == std::string_view::npos);
  }

  TEST_CASE("register: posts the schema under the subject and takes the id") {
    FakeRegistry registry(answering(200, "{\"id\":258}"));
    SchemaRegistrySettings settings = settings_for(registry);
    settings.url += "/apis/ccompat/v7/";
    settings.subject = "a/b c-value";
    settings.user = "u";
    settings.password = "p";
    const auto id = register_schema(settings, event_schema(), {});
    REQUIRE_MESSAGE(id.ok(), describe(id.status()));
    CHECK(*id == 258);
    REQUIRE(registry.requests().size() == 1);
    const httplib::Request asked = registry.requests()[0];
    CHECK(asked.target == "/apis/ccompat/v7/subjects/a%2Fb%20c-value/versions");
    CHECK(asked.get_header_value("Content-Type") == "application/vnd.schemaregistry.v1+json");
    CHECK(asked.get_header_value("Authorization") == "Basic dTpw");
    const auto body = nlohmann::json::parse(asked.body);
    CHECK(body["schemaType"] == "PROTOBUF");
    CHECK(body["schema"] == event_schema());
  }

  TEST_CASE("register: a refusal says what to do, and which kind it is") {
    CHECK(code_after(401, "{\"error_code\":401,\"message\":\"no\"}") == StatusCode::kPermissionDenied);
    CHECK(code_after(403, "") == StatusCode::kPermissionDenied);
    CHECK(code_after(409, "{\"error_code\":409,\"message\":\"incompatible\"}") == StatusCode::kInvalidArgument);
    CHECK(code_after(500, "oops") == StatusCode::kUnavailable);
    CHECK(code_after(302, "") == StatusCode::kUnavailable);
    CHECK(code_after(200, "{\"id\":\"x\"}") == StatusCode::kUnavailable);
    CHECK(code_after(200, "{\"id\":4294967296}") == StatusCode::kUnavailable);
    CHECK(code_after(200, std::string(2 << 20, 'x')) == StatusCode::kUnavailable);
    FakeRegistry registry(answering(409, "{\"error_code\":409,\"message\":\"incompatible\"}"));
    const auto refused = register_schema(settings_for(registry), "x", {}).status();
    CHECK(message_of(refused).find("headgate.v1.Event") != std::string::npos);
    CHECK(message_of(refused).find("incompatible") != std::string::npos);
  }

  TEST_CASE("register: an absent or a silent registry costs no more than the time-out") {
    SchemaRegistrySettings settings;
    settings.url = fmt::format("http://127.0.0.1:{}", testing::free_port());
    settings.timeout = Duration(300);
    CHECK(register_schema(settings, "x", {}).status().code() == StatusCode::kUnavailable);
    std::atomic<bool> ended = false;
    FakeRegistry silent([&](const httplib::Request&, httplib::Response&) {
      testing::wait_until([&] { return ended.load(); }, std::chrono::milliseconds(10'000));
    });
    settings.url = silent.url();
    const auto start = std::chrono::steady_clock::now();
    CHECK(register_schema(settings, "x", {}).status().code() == StatusCode::kUnavailable);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(3'000));
    settings.timeout = Duration(60'000);
    std::stop_source source;
    std::jthread stopper([&] {
      testing::wait_until([&] { return silent.requests().size() == 2; });
      source.request_stop();
    });
    CHECK(register_schema(settings, "x", source.get_token()).status().code() == StatusCode::kCancelled);
    ended = true;
  }

  TEST_CASE("sink: registers when it opens, once, and tries again after a failure") {
    std::atomic<int> asked = 0;
    FakeRegistry registry([&](const httplib::Request& request, httplib::Response& response) {
      answering(++asked == 1 ? 503 : 200, "{\"id\":7}")(request, response);
    });
    EncodingSettings encoding;
    encoding.format = PayloadFormat::kConfluent;
    encoding.registry = settings_for(registry);
    EncodingSettings used;
    const auto sink = make_registered_sink(encoding, [&](const EncodingSettings& given) {
      used = given;
      return StatusOr<std::unique_ptr<Sink>>(std::make_unique<FakeSink>());
    });
    REQUIRE(sink.ok());
    CHECK((*sink)->write({}, {}).status.code() == StatusCode::kUnavailable);
    CHECK((*sink)->open({}).code() == StatusCode::kUnavailable);
    CHECK((*sink)->open({}).ok());
    CHECK(used.schema_id == 7);
    CHECK(used.dataschema == registry.url() + "/schemas/ids/7");
    (*sink)->close();
    CHECK((*sink)->open({}).ok());
    CHECK(asked == 2);
  }

  TEST_CASE("sink: settings that exclude each other are refused") {
    const auto code_of = [](PayloadFormat format, uint32_t id, const std::string& url) {
      EncodingSettings encoding;
      encoding.format = format;
      encoding.schema_id = id;
      encoding.registry.url = url;
      const auto make = [](const EncodingSettings&) {
        return StatusOr<std::unique_ptr<Sink>>(std::make_unique<FakeSink>());
      };
      return make_registered_sink(encoding, make).status().code();
    };
    CHECK(code_of(PayloadFormat::kConfluent, 0, "http://r:8081") == StatusCode::kOk);
    CHECK(code_of(PayloadFormat::kConfluent, 1, "http://r:8081") == StatusCode::kInvalidArgument);
    CHECK(code_of(PayloadFormat::kJson, 0, "http://r:8081") == StatusCode::kInvalidArgument);
    CHECK(code_of(PayloadFormat::kConfluent, 0, "r:8081") == StatusCode::kInvalidArgument);
    CHECK(code_of(PayloadFormat::kConfluent, 0, "http://u:p@r:8081") == StatusCode::kInvalidArgument);
  }
}

}  // namespace headgate::sinks
