// What one tenant does must not be felt by another: a deletion that takes long, whoever dies meanwhile.
#include <atomic>
#include <pqxx/pqxx>

#include "tests/robustness/copy.h"
#include "tests/support/engine_session.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/world.h"

TEST_SUITE("robustness/neighbours") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  // One Data.Delete of everything, which cannot end while somebody holds one of its rows.
  class LongDelete {
   public:
    LongDelete(World& world, const std::string& tenant) : blocker_(world.database_uri()) {
      blocker_.run("BEGIN");
      blocker_.run("SELECT FROM relation_tuples WHERE tenant_id = '" + tenant +
                   "' AND expired_tx_id = '9223372036854775807'::xid8 LIMIT 1 FOR UPDATE");
      thread_ = std::jthread([this, &world, tenant] {
        grpc::ClientContext context;
        set_deadline(context, 60s);
        base::v1::DataDeleteRequest request;
        request.set_tenant_id(tenant);
        request.mutable_tuple_filter()->mutable_entity()->set_type("doc");
        request.mutable_attribute_filter();
        base::v1::DataDeleteResponse response;
        const grpc::Status status = world.client().stubs().data->Delete(&context, request, &response);
        failure_ = status.ok() ? "" : status.error_message();
        ended_ = true;
      });
      // Its transaction has begun when it waits for the row. Inside of its own, the blocker would see one moment for
      // ever.
      EngineSession look(world.database_uri());
      CHECK(wait_until([&] {
        return look.value(
                   "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND"
                   " wait_event_type = 'Lock' AND query LIKE 'UPDATE relation_tuples%'") != "0";
      }));
    }
    bool ended() const { return ended_; }
    // "" or why it failed.
    std::string let_go() {
      blocker_.run("ROLLBACK");
      thread_.join();
      return failure_;
    }

   private:
    EngineSession blocker_;
    std::string failure_;
    std::atomic<bool> ended_ = false;
    std::jthread thread_;
  };

  size_t changes_of(const Subscriber& sink, const std::string& tenant) {
    const std::vector<Received> all = sink.received();
    return static_cast<size_t>(std::ranges::count_if(
        all, [&](const Received& event) { return event.tenant == tenant && event.is_changes() && !event.more_parts; }));
  }

  // Through every sink; what a signal sink was told while nobody listened does not count.
  bool all_have(World & world, const std::string& tenant, size_t count) {
    return wait_until(
        [&] {
          return std::ranges::all_of(world.subscribers(),
                                     [&](const auto& one) { return changes_of(*one.second, tenant) >= count; });
        },
        20s);
  }

  void write_to(World & world, const std::string& tenant, int count) {
    for (int i = 0; i < count; ++i) {
      const std::string doc = "doc:" + tenant + std::to_string(i);
      // An engine that was just started is not reached at once.
      REQUIRE(wait_until([&] { return world.client().write(tenant, {tuple_of(doc + "#owner@user:a")}).status.ok(); }));
    }
  }

  // "" or the first fault of a sink.
  std::string fault_of(World & world) {
    for (const auto& [kind, sink] : world.subscribers()) {
      const bool signal = kind == "redis_pubsub" || kind == "nats_core";
      const std::string fault = signal ? check_rising(sink->received())
                                       : check_copies(sink->received(), false, {"big", "small"}, world.client());
      if (!fault.empty()) return kind + ": " + fault;
    }
    return "";
  }

  void check_all(World & world) {
    std::string fault;
    CHECK_MESSAGE(wait_until([&] { return (fault = fault_of(world)).empty(); }), fault);
  }

  TEST_CASE("a long deletion of one tenant delays no event of another, at Watch and at every sink") {
    HG_WORLD(world, {});
    world->create_tenants({"big", "small"});
    world->relay().start();
    EngineSession session(world->database_uri());
    session.begin("big");
    session.add_many(3'000);
    session.commit();
    WatchReader watch(world->client(), "small", "");
    REQUIRE(watch.wait_open(5s));
    write_to(*world, "small", 1);
    REQUIRE(all_have(*world, "big", 1));
    REQUIRE(all_have(*world, "small", 1));

    LongDelete deletion(*world, "big");
    write_to(*world, "small", 20);
    CHECK(watch.wait_for(21, 20s));
    CHECK(all_have(*world, "small", 21));
    CHECK(!deletion.ended());
    for (const auto& one : world->subscribers()) CHECK_MESSAGE(changes_of(*one.second, "big") == 1, one.first);
    CHECK(deletion.let_go() == "");
    CHECK(all_have(*world, "big", 2));
    write_to(*world, "small", 1);
    CHECK(all_have(*world, "small", 22));
    check_all(*world);
  }

  TEST_CASE("a relay and an engine that are killed during a long deletion lose nothing and repeat nothing") {
    HG_WORLD(world, {.sinks = {"file", "redis_streams", "nats_jetstream"},
                     .subscribe = {"file", "redis_streams", "nats_jetstream"}});
    world->create_tenants({"big", "small"});
    world->relay().start();
    EngineSession session(world->database_uri());
    session.begin("big");
    session.add_many(2'000);
    session.commit();
    write_to(*world, "small", 1);
    REQUIRE(all_have(*world, "big", 1));
    size_t written = 1;
    {
      LongDelete deletion(*world, "big");
      write_to(*world, "small", 10);
      CHECK(all_have(*world, "small", written += 10));
      world->relay().kill();
      write_to(*world, "small", 5);
      world->relay().start();
      CHECK(all_have(*world, "small", written += 5));
      CHECK(!deletion.ended());
      CHECK(deletion.let_go() == "");
    }
    CHECK(all_have(*world, "big", 2));
    session.begin("big");
    session.add_many(2'000, "again");
    session.commit();
    {
      LongDelete deletion(*world, "big");
      write_to(*world, "small", 5);
      CHECK(all_have(*world, "small", written += 5));
      world->engine().kill();
      // The database ends a call of a client that is gone only when it comes to the row.
      deletion.let_go();
      world->engine().start();
    }
    write_to(*world, "small", 3);
    CHECK(all_have(*world, "small", written += 3));
    write_to(*world, "big", 1);
    check_all(*world);
  }
}
