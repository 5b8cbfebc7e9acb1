// What every statement of this folder reads is a small multiple of what it gives back, whatever the statistics say. A
// new statement gets a line in one of the lists here or in batch_plans_test.cc.
#include "engine/storage/read_plans_fixture.h"

namespace headgate::engine {
namespace {

void check_lists(World& world, const std::string& when) {
  const Datastore& store = world.store;
  world.check("a page of tenants, " + when, [&] { return world.size_of(store.tenants->list({10, ""})); });
  for (const std::string tenant : {"small", "huge"}) {
    const auto about = [&](const char* what) { return fmt::format("{} of {}, {}", what, tenant, when); };
    world.check(about("head"), [&] { return store.reader->head(tenant).ok(); });
    world.check(about("schema head"), [&] { return store.schemas->head_version(tenant).ok(); });
    world.next.clear();
    world.check(about("schema versions"), [&] { return world.size_of(store.schemas->list(tenant, {10, world.next})); });
    world.check(about("more versions"), [&] { return world.size_of(store.schemas->list(tenant, {10, world.next})); });
    world.check(about("schema"), [&] { return store.schemas->read(tenant, "00000000000000000150")->size(); });
    world.check(about("a bundle"), [&] { return store.bundles->read(tenant, "b").ok(); });
    const auto snapshots = make_snapshot_reader(world.pool);
    std::string continuation;
    for (const char* page : {"first snapshot page", "second snapshot page"}) {
      world.check(about(page), [&] {
        const auto state = snapshots->read({tenant, 0, continuation, 64 << 10, 0}, [] { return ok_status(); });
        REQUIRE_MESSAGE(state.ok(), describe(state.status()));
        continuation = state->continuation;
        base::v1::DataChanges changes;
        REQUIRE(changes.ParseFromString(state->changes));
        return changes.data_changes_size();
      });
    }
  }
}

void check_writes(World& world, const std::string& when) {
  DataWriter& writer = *world.store.writer;
  const auto about = [&](const std::string& what) { return fmt::format("{}, {}", what, when); };
  const auto ok = [](const StatusOr<SnapToken>& token) {
    REQUIRE_MESSAGE(token.ok(), describe(token.status()));
    return 1;
  };
  const auto tuple = tuple_of("organization", "heavy", "member", "new");
  const auto value = attribute_of<base::v1::BooleanValue>("e3", "a1", true);
  world.check(about("a write"), [&] { return ok(writer.write("huge", {tuple}, {value})); });
  world.check(about("a write of some"), [&] {
    return ok(writer.write("huge", {tuple, tuple_of("organization", "heavy", "member", "newer")}, {value}));
  });
  BundleStep step;
  step.tuples_delete = {tuple};
  step.attributes_delete = {value};
  world.check(about("a bundle that deletes"), [&] { return ok(writer.run("huge", {step})); });
  AttributeFilter attribute;
  attribute.mutable_entity()->set_type("doc");
  attribute.mutable_entity()->add_ids("e7");
  const TupleFilter filters[] = {tuples("organization", "heavy", "member", "user", "newer"),
                                 tuples("organization", "heavy", "", "user", "s3"),
                                 tuples("doc", "e7", ""),
                                 tuples("", "", "", "user", "s11"),
                                 tuples("rare", "", ""),
                                 tuples("folder", "e9", "", "organization", "heavy"),
                                 tuples("doc", "expired", "viewer", "group")};
  for (const TupleFilter& filter : filters) {
    world.check(about("a deletion of " + filter.ShortDebugString()),
                [&] { return ok(writer.remove("huge", filter, attribute)); });
  }
}

void check_pages_of_history(World& world, HistoryReader& history, uint64_t middle, uint64_t newest,
                            const std::string& when) {
  const auto changes = [](const StatusOr<HistoryPage>& page) {
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    size_t count = page->transactions.size();
    for (const auto& transaction : page->transactions) count += transaction.changes.size();
    return count;
  };
  std::vector<std::string> many{"small", "huge"};
  for (int i = 1; i < 100; ++i) many.push_back("old" + std::to_string(i));
  for (const size_t count : {0, 1, 2, 100}) {
    const std::vector<std::string> tenants(many.begin(), many.begin() + static_cast<ptrdiff_t>(count));
    world.check(fmt::format("a page of history of {} tenants, {}", count, when), [&] {
      return changes(history.page({middle, middle + 10}, tenants, 1000));
    });
    world.check(fmt::format("the end of history of {} tenants, {}", count, when), [&] {
      return changes(history.page({newest - 3, newest + 1}, tenants, 1000));
    });
  }
  world.check("the tail, " + when, [&] { return changes(history.tail(newest - 2, 1000, false)->page); });
  world.check("the tail without anything new, " + when,
              [&] { return changes(history.tail(newest + 1, 1000, false)->page); });
}

void check_history(World& world, HistoryReader& history, const std::string& when) {
  const uint64_t middle =
      world.xid_of("SELECT id FROM transactions WHERE tenant_id = 'huge' ORDER BY id OFFSET 300 LIMIT 1");
  const uint64_t newest = world.xid_of("SELECT id FROM transactions ORDER BY id DESC LIMIT 1");
  check_pages_of_history(world, history, middle, newest, when);
  const auto check = [&](const char* what, const std::function<Status()>& ask) {
    world.check(fmt::format("{}, {}", what, when), [&] {
      const Status status = ask();
      REQUIRE_MESSAGE(status.ok(), describe(status));
      return 1;
    });
  };
  const std::vector<std::string> both{"small", "huge"};
  const std::vector<uint64_t> xids{middle, middle};
  const TransactionIdentity seen[] = {
      {middle, 0, "huge"}, {middle, 0, "small"}, {newest + 1000, 0, "huge"}, {5, 0, "huge"}};
  check("the horizon", [&] { return history.horizon().status(); });
  check("what is running", [&] { return history.running().status(); });
  check("facts of tenants", [&] { return history.tenants(both, xids).status(); });
  check("what comes after", [&] { return history.next_after(both, xids).status(); });
  check("rows among xids", [&] { return history.rows_among("huge", xids).status(); });
  check("collected behind", [&] { return history.collected_behind(middle, middle).status(); });
  check("newest below", [&] { return history.newest_below(middle).status(); });
  check("identities", [&] { return history.intact(seen).status(); });
  check("tenants with history", [&] { return history.with_history().status(); });
  check("a count", [&] { return history.count({middle, middle + 100}).status(); });
  check("changes of tenants", [&] { return history.tenant_changes().status(); });
  check("registered tenants", [&] { return history.registered().status(); });
  check("missed lives", [&] { return history.record_missed_lives().status(); });
}

void check_collector(World& world, const std::string& when) {
  const auto about = [&](const char* what) { return fmt::format("{}, {}", what, when); };
  const auto removal = *HistoryRemoval::open(world.database.uri(), {});
  world.check(about("holds"), [&] { return removal->publish_holds("me", Duration(1), {{"huge", 5}, {"", 5}}).ok(); });
  world.check(about("tenants to collect"), [&] { return removal->tenants()->size(); });
  world.check(about("a floor that stays"), [&] { return removal->raise_floor("huge", Duration(3'600'000)).ok(); });
  std::string floor;
  world.check(about("a floor that rises"), [&] {
    floor = removal->raise_floor("huge", Duration(0))->value();
    return world.xid_of("SELECT count(*) FROM transactions WHERE tenant_id = 'huge'");
  });
  for (const char* tenant : {"huge", "small"}) {
    for (const auto rows : {RemovableRows::kTuples, RemovableRows::kAttributes, RemovableRows::kTransactions}) {
      world.check(fmt::format("a batch of {} of {}, {}", static_cast<int>(rows), tenant, when),
                  [&] { return *removal->remove(rows, tenant, floor, 200); });
    }
  }
  world.check(about("lives"), [&] { return removal->remove_lives(Duration(0), 100).ok(); });
}

TEST_SUITE("storage/read_plans") {
  TEST_CASE("read plans: a page costs what it gives, with statistics of another time and with fresh ones") {
    HG_OWN_POSTGRES(database);
    World world(*database);
    const auto at_head = [&](const char* tenant, const char* statistics) {
      const auto head = world.store.reader->head(tenant);
      REQUIRE(head.ok());
      world.check_pages(tenant, *head, fmt::format("at the head, {} statistics", statistics));
      return *head;
    };
    SnapToken holes = at_head("huge", "stale");
    at_head("small", "stale");
    at_head("late", "stale");
    // In the middle of the documents, before anything heavy came.
    const std::string middle = "SELECT id FROM transactions WHERE tenant_id = 'huge' ORDER BY id OFFSET 300 LIMIT 1";
    world.check_pages("huge", token_at(world.xid_of(middle)), "at an old token, stale statistics");
    holes.snapshot.in_progress = {holes.xid - 3, holes.xid - 1};
    holes.snapshot.xmin = holes.xid - 3;
    world.check_pages("huge", holes, "at a token with holes, stale statistics");
    database->execute("ANALYZE");
    at_head("huge", "fresh");
  }

  TEST_CASE("read plans: history, lists, writes and the collector read what they are about") {
    HG_OWN_POSTGRES(database);
    World world(*database);
    for (const char* tenant : {"small", "huge"}) {
      database->execute(
          fmt::format("INSERT INTO schema_definitions (tenant_id, version, name, serialized_definition) SELECT '{}',"
                      " lpad(v::text, 20, '0'), 'e' || n, '' FROM generate_series(1, 300) v, generate_series(1, 50) n",
                      tenant));
    }
    for (const char* statistics : {"stale", "fresh"}) {
      if (std::string(statistics) == "fresh") database->execute("ANALYZE");
      check_lists(world, statistics);
      check_writes(world, statistics);
      const auto history = *open_history({.uri = database->uri()});
      check_history(world, *history, statistics);
      check_collector(world, statistics);
    }
  }
}

}  // namespace
}  // namespace headgate::engine
