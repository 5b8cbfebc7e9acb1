#include "base/postgres/resolve.h"

#include <memory>

#include "base/mutex.h"
#include "base/postgres/connect.h"
#include "tests/support/postgres.h"
#include "tests/support/test_main.h"

namespace headgate {
namespace {

// A resolver that answers when it is told to.
struct Stuck {
  struct State {
    Mutex mutex;
    Condition changed;
    bool released GUARDED_BY(mutex) = false;
  };
  std::shared_ptr<State> state = std::make_shared<State>();

  Lookup lookup() const {
    return [state = state](const std::string&) -> StatusOr<std::vector<std::string>> {
      MutexLock lock(state->mutex);
      state->changed.wait_for(state->mutex, Duration(60'000),
                              [&]() REQUIRES_LOCK(state->mutex) { return state->released; });
      return std::vector<std::string>{"192.0.2.1"};
    };
  }
  ~Stuck() {
    MutexLock lock(state->mutex);
    state->released = true;
    state->changed.notify_all();
  }
};

}  // namespace

TEST_SUITE("base/postgres") {
  TEST_CASE("resolve: a name gives numbers, and one that nobody knows a reason") {
    const auto found = resolve_name("localhost", Duration(10'000), {});
    REQUIRE(found.ok());
    for (const std::string& address : *found) CHECK_FALSE(is_host_name(address));
    const Status absent = resolve_name("no-such-host.invalid", Duration(30'000), {}).status();
    CHECK(absent.code() == StatusCode::kUnavailable);
    CHECK(message_of(absent).find("no-such-host.invalid") != std::string::npos);
  }

  TEST_CASE("resolve: a resolver that hangs holds nobody beyond the limit, nor beyond a request to stop") {
    const Stuck stuck;
    const Status late = resolve_name("db", Duration(50), {}, stuck.lookup()).status();
    CHECK(late.code() == StatusCode::kUnavailable);
    CHECK(message_of(late).find("within 50 ms") != std::string::npos);
    std::stop_source stop;
    const std::jthread stopper([&] { stop.request_stop(); });
    CHECK(resolve_name("db", Duration(600'000), stop.get_token(), stuck.lookup()).status().code() ==
          StatusCode::kCancelled);
  }

  TEST_CASE("resolve: a crowd that waits for the resolver is bounded") {
    const Stuck stuck;
    Status last;
    for (int i = 0; i < 100; ++i) last = resolve_name("db", Duration(0), {}, stuck.lookup()).status();
    CHECK(message_of(last).find("look-ups wait") != std::string::npos);
  }

  TEST_CASE("resolve: what is a name") {
    for (const char* name : {"localhost", "db.example.com", "10.0.0"}) CHECK(is_host_name(name));
    for (const char* number : {"", "127.0.0.1", "::1", "fe80::1%eth0", "/var/run/postgresql", "@abstract"}) {
      CHECK_FALSE(is_host_name(number));
    }
  }

  TEST_CASE("resolve: a connection by name stands, and each of several hosts is looked up by itself") {
    HG_POSTGRES(database);
    std::string uri = database->uri();
    const size_t host = uri.find("127.0.0.1");
    REQUIRE(host != std::string::npos);
    const std::string by_name = std::string(uri).replace(host, 9, "localhost");
    CHECK(connect_libpq({by_name}, {}).ok());
    const Status status = connect_libpq({"host=no-such-host.invalid,127.0.0.1 port=1 dbname=d"}, {}).status();
    CHECK(message_of(status).find("no-such-host.invalid") != std::string::npos);
    CHECK(message_of(status).find("refused") != std::string::npos);
  }
}

}  // namespace headgate
