#include "engine/config/config.h"

#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

struct Case {
  const char* variable;
  const char* value;
  const char* fault;  // null: accepted
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"ROLES", "watch", nullptr},
      {"ROLES", "watch,write", nullptr},
      {"ROLES", "", "roles must not be empty"},
      {"ROLES", "sing", "roles holds 'sing', which is not one of write, check, watch"},
      {"SERVER_PORT", "0", nullptr},
      {"SERVER_PORT", "65536", "server.port: '65536' is not between 0 and 65535"},
      {"SERVER_WORKERS", "0", "server.workers: '0' is not between 1 and 1000"},
      {"SERVER_DRAIN_WINDOW", "10", "server.drain_window: '10' is not a duration"},
      {"TLS_KEY", "/k", "tls.key needs both certificate and key"},
      {"TLS_CERTIFICATE", "/c", "tls.certificate needs both certificate and key"},
      {"TLS_CLIENT_CA", "/a", "tls.client_ca needs certificate and key"},
      {"TLS_CLIENT_CA", "/no/such/file", "tls.client_ca cannot read the file '/no/such/file'"},
      {"AUTHN_METHOD", "oidc", "authn.method: 'oidc' is not one of none, preshared"},
      {"AUTHN_METHOD", "preshared", "authn.keys must hold at least one key"},
      {"DATABASE_MAX_CONNECTIONS", "8", nullptr},
      {"DATABASE_MAX_CONNECTIONS", "7", "database needs max_connections of more than 7"},
      {"DATABASE_MAX_DATA_PER_WRITE", "0", "database.max_data_per_write: '0' is not between 1"},
      {"FEED_RING_BYTES", "1KiB", "feed.ring_bytes: '1KiB' is not between 1MiB"},
      {"FEED_POLL_IDLE", "0", "feed.poll_idle: '0' is not between"},
      {"GC_WINDOW", "5s", "gc.window: '5s' is not between 1m"},
      {"GC_WINDOW", "30d", nullptr},
      {"LIMITS_PAGE_SIZE_DEFAULT", "6000", "limits.page_size_default must not be more than page_size_max"},
      {"LOG_LEVEL", "loud", "log.level: 'loud' is not one of trace"},
      {"LOG_FORMAT", "json", nullptr},
  };
  return all;
}

}  // namespace

TEST_SUITE("engine/config") {
  TEST_CASE("config: each rule holds for variables of the environment") {
    for (const Case& one : cases()) {
      CAPTURE(one.variable);
      CAPTURE(one.value);
      EngineConfig config;
      const Status status = load_config("",
                                        {{"HEADGATE_ENGINE_DATABASE_URI", "postgres://h/d"},
                                         {std::string("HEADGATE_ENGINE_") + one.variable, one.value}},
                                        config);
      CAPTURE(message_of(status));
      if (one.fault == nullptr) {
        CHECK(status.ok());
      } else {
        CHECK(message_of(status).find(one.fault) != std::string::npos);
      }
    }
  }

  TEST_CASE("config: the database must be named, everything else has a default") {
    EngineConfig config;
    CHECK(message_of(load_config("", {}, config)) == "HEADGATE_ENGINE: database.uri must be set");
    EngineConfig named;
    CHECK(load_config("", {{"HEADGATE_ENGINE_DATABASE_URI", "postgres://h/d"}}, named).ok());
    CHECK(named.has_role("check"));
    CHECK_FALSE(named.has_role("sing"));
  }

  TEST_CASE("config: a uri that libpq cannot read is refused, and its values are not told") {
    for (const char* uri :
         {"mysql://joe:hunter2@h/d", "postgres://joe:hunter2@h/d?plan_cache_mode=force_custom_plan"}) {
      EngineConfig config;
      const std::string fault = message_of(load_config("", {{"HEADGATE_ENGINE_DATABASE_URI", uri}}, config));
      CAPTURE(fault);
      CHECK(fault.rfind("HEADGATE_ENGINE_DATABASE_URI: database.uri ", 0) == 0);
      CHECK(fault.find("hunter2") == std::string::npos);
    }
  }

  TEST_CASE("config: printing shows no key and no uri") {
    EngineConfig config;
    config.database.uri = "postgres://joe:hunter2@h/d";
    config.authn.keys = {"hunter2"};
    const std::string text = print_config(config);
    CHECK(text.find("hunter2") == std::string::npos);
    CHECK(text.find("joe") == std::string::npos);
    CHECK(text.find("max_data_per_write: 1000") != std::string::npos);
  }
}

}  // namespace headgate::engine
