// What every statement of this folder reads is a small multiple of what it gives back, whatever the statistics say. The
// server itself explains each statement as it runs (auto_explain), so that what is judged is what the code sends.
//
// A new statement gets a line in one of the lists below. HEADGATE_PLAN_ROWS=2000000 makes the tables larger.
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/storage/history_removal.h"
#include "engine/storage/postgres_history.h"
#include "engine/storage/snapshot_reader.h"
#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

using base::v1::AttributeFilter;
using base::v1::TupleFilter;
using nlohmann::json;

// What an answer may cost beyond a multiple of its rows, in rows that were looked at.
constexpr double kRowsFor = 12, kRowsAtRest = 1'200;
constexpr double kBlocksForRow = 8;
constexpr uint32_t kPageRows = 100;
// What a filter may read besides for which no index has exactly its rows in the order of their ids: see row_pages.
constexpr double kWalkedAndSorted = 20'000 + 50'000;

int64_t table_rows() {
  const char* given = std::getenv("HEADGATE_PLAN_ROWS");
  return given == nullptr ? 200'000 : std::atoll(given);
}

struct Cost {
  double rows = 0;    // that scans of tables gave or threw away
  double blocks = 0;  // of tables and indexes
  int statements = 0;
  std::string plan;  // the most expensive one

  void add(const Cost& other) {
    if (other.rows + other.blocks > most_) plan = other.plan, most_ = other.rows + other.blocks;
    rows += other.rows;
    blocks += other.blocks;
    ++statements;
  }

 private:
  double most_ = 0;
};

double scanned(const json& node) {
  double rows = 0;
  if (node.contains("Relation Name") && node["Node Type"].get<std::string>().ends_with("Scan")) {
    const auto of = [&](const char* key) { return node.value(key, 0.0); };
    rows =
        (of("Actual Rows") + of("Rows Removed by Filter") + of("Rows Removed by Index Recheck")) * of("Actual Loops");
  }
  if (node.contains("Plans")) {
    for (const json& child : node["Plans"]) rows += scanned(child);
  }
  return rows;
}

// The server's log, in which auto_explain writes.
class Explained {
 public:
  explicit Explained(const testing::PostgresDatabase& database) {
    for (const char* setting : {"session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0",
                                "auto_explain.log_analyze = on", "auto_explain.log_buffers = on",
                                "auto_explain.log_timing = off", "auto_explain.log_format = 'json'"}) {
      database.execute(fmt::format("ALTER DATABASE {} SET {}", database.name(), setting));
    }
    const std::string data = database.execute("SHOW data_directory");
    path_ = data.substr(0, data.rfind('/')) + "/log";
    rest();
  }

  Cost cost_of(const std::function<void()>& work) {
    rest();
    work();
    Cost cost;
    std::istringstream lines(rest());
    std::string line, plan;
    const auto end = [&] {
      if (!plan.empty()) cost.add(cost_of_plan(plan));
      plan.clear();
    };
    while (std::getline(lines, line)) {
      const bool begins = line.ends_with("plan:");
      if (begins || line.empty() || line[0] != '\t') end();
      if (begins) plan = " ";
      if (!plan.empty() && line[0] == '\t') plan += line + "\n";
    }
    end();
    return cost;
  }

 private:
  static Cost cost_of_plan(const std::string& text) {
    const json plan = json::parse(text);
    Cost cost;
    cost.rows = scanned(plan["Plan"]);
    cost.blocks = plan["Plan"].value("Shared Hit Blocks", 0.0) + plan["Plan"].value("Shared Read Blocks", 0.0);
    cost.plan = text;
    return cost;
  }

  std::string rest() {
    std::ifstream file(path_);
    REQUIRE_MESSAGE(file.good(), "no log at " << path_);
    file.seekg(read_);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    read_ += static_cast<std::streamoff>(text.size());
    return text;
  }

  std::string path_;
  std::streamoff read_ = 0;
};

// Transactions of a hundred rows each. In "huge": many ordinary documents, then one subject on a fifth of the rows, one
// entity with a fifth, one entity whose rows are nearly all expired, one type that is rare and was written last;
// "small" beside it; "late" has a tenth of the rows, all written behind the others.
constexpr char kFill[] = R"sql(
CREATE FUNCTION fill(tenant text, rows bigint, entity_type text, entity text, relation text, subject_type text,
                     subject text, expired boolean) RETURNS void LANGUAGE sql AS $$
  WITH t AS (SELECT max(id::text::bigint) AS last FROM transactions)
  INSERT INTO relation_tuples (tenant_id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation,
                               created_tx_id, expired_tx_id)
  SELECT tenant, entity_type, COALESCE(entity, 'e' || i), relation, subject_type, COALESCE(subject, 's' || i), '',
    (last + 1 + i / 100)::text::xid8,
    CASE WHEN expired THEN (last + 2 + i / 100)::text::xid8 ELSE '9223372036854775807'::xid8 END
  FROM t, generate_series(0, rows - 1) i;
  WITH t AS (SELECT max(id::text::bigint) AS last FROM transactions)
  INSERT INTO transactions (id, tenant_id, snapshot)
  SELECT (last + 1 + i)::text::xid8, tenant, pg_current_snapshot() FROM t, generate_series(0, (rows - 1) / 100 + 1) i;
$$;
CREATE FUNCTION fill_attributes(tenant text, rows bigint) RETURNS void LANGUAGE sql AS $$
  WITH t AS (SELECT max(id::text::bigint) AS last FROM transactions)
  INSERT INTO attributes (tenant_id, entity_type, entity_id, attribute, value, created_tx_id)
  SELECT tenant, 'doc', 'e' || i / 2, 'a' || i % 2,
    '{"@type": "type.googleapis.com/base.v1.BooleanValue", "data": true}', last::text::xid8
  FROM t, generate_series(0, rows - 1) i;
$$;
)sql";

void fill(const testing::PostgresDatabase& database, int64_t rows) {
  for (const char* table : {"relation_tuples", "attributes", "transactions"}) {
    database.execute(fmt::format("ALTER TABLE {} SET (autovacuum_enabled = false)", table));
  }
  database.execute(kFill);
  // The transactions that are made up below are of the past, behind the first one.
  database.execute("INSERT INTO transactions (tenant_id) VALUES ('old')");
  database.execute(fmt::format("DO $$ BEGIN FOR i IN 1..{} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$",
                               rows / 100 + 500));
  // Statistics of a time when every tenant had one row.
  database.execute(
      "INSERT INTO relation_tuples (tenant_id, entity_type, entity_id, relation, subject_type, subject_id, "
      "subject_relation) SELECT 'old' || i, 't' || i, 'e' || i, 'r' || i, 's' || i, 'u' || i, '' FROM "
      "generate_series(1, 3000) i");
  database.execute(
      "INSERT INTO attributes (tenant_id, entity_type, entity_id, attribute, value)"
      " SELECT 'old' || i, 't' || i, 'e' || i, 'a' || i, '{}' FROM generate_series(1, 3000) i");
  database.execute("ANALYZE");
  const auto add = [&](const char* tenant, int64_t count, const char* rest) {
    database.execute(fmt::format("SELECT fill('{}', {}, {})", tenant, count, rest));
  };
  add("small", 50, "'doc', NULL, 'owner', 'user', NULL, false");
  add("huge", rows * 4 / 10, "'doc', NULL, 'owner', 'user', NULL, false");
  add("huge", rows / 10, "'doc', 'expired', 'viewer', 'user', NULL, true");
  add("huge", 20, "'doc', 'expired', 'viewer', 'group', NULL, false");
  add("huge", rows / 5, "'organization', 'heavy', 'member', 'user', NULL, false");
  add("huge", rows / 5, "'folder', NULL, 'parent', 'organization', 'heavy', false");
  add("huge", 30, "'rare', NULL, 'owner', 'user', NULL, false");
  add("late", rows / 10, "'doc', NULL, 'owner', 'user', NULL, false");
  for (const char* tenant : {"small", "huge", "late"}) {
    database.execute(
        fmt::format("SELECT fill_attributes('{}', {})", tenant, std::string(tenant) == "huge" ? rows / 5 : 50));
    database.execute(fmt::format("INSERT INTO tenants (id, name) VALUES ('{}', '')", tenant));
  }
}

struct Filtered {
  const char* name;
  TupleFilter filter;
  double more = 0;
};

TupleFilter tuples(const std::string& entity_type, const std::string& entity, const std::string& relation,
                   const std::string& subject_type = "", const std::string& subject = "") {
  TupleFilter filter;
  filter.mutable_entity()->set_type(entity_type);
  if (!entity.empty()) filter.mutable_entity()->add_ids(entity);
  filter.set_relation(relation);
  filter.mutable_subject()->set_type(subject_type);
  if (!subject.empty()) filter.mutable_subject()->add_ids(subject);
  return filter;
}

std::vector<Filtered> tuple_filters() {
  // Without a type of entities and without ids there is no index for it.
  const double whole = kWalkedAndSorted + static_cast<double>(table_rows());
  std::vector<Filtered> all = {
      {"everything", {}},
      {"heavy subject", tuples("", "", "", "organization", "heavy")},
      {"heavy subject of a type", tuples("folder", "", "parent", "organization", "heavy")},
      {"heavy subject, nothing there", tuples("doc", "", "owner", "organization", "heavy")},
      {"heavy subject without its type", tuples("", "", "", "", "heavy")},
      {"heavy entity", tuples("organization", "heavy", "")},
      {"heavy entity by relation", tuples("organization", "heavy", "member")},
      {"heavy entity, another relation", tuples("organization", "heavy", "owner")},
      {"heavy entity without its type", tuples("", "heavy", "")},
      {"heavy entity and one subject", tuples("organization", "heavy", "", "user", "s7")},
      {"heavy entity and heavy subject", tuples("organization", "heavy", "", "organization", "heavy")},
      {"one entity and heavy subject", tuples("folder", "e7", "", "organization", "heavy")},
      {"one entity", tuples("doc", "e7", "")},
      {"one subject", tuples("", "", "", "user", "s7")},
      {"one tuple", tuples("doc", "e7", "owner", "user", "s7")},
      {"expired rows of an entity", tuples("doc", "expired", "")},
      {"a type", tuples("doc", "", "")},
      {"a type that was written last", tuples("rare", "", "")},
      {"a type and its relation", tuples("folder", "", "parent")},
      {"a type of subjects", tuples("", "", "", "organization", ""), whole},
      {"a rare type of subjects", tuples("", "", "", "group", ""), kWalkedAndSorted},
      {"a relation", tuples("", "", "parent"), whole},
      {"a type and a rare type of subjects", tuples("doc", "", "", "group", ""), kWalkedAndSorted},
  };
  Filtered many{"three entities, one heavy", tuples("organization", "heavy", "")};
  many.filter.mutable_entity()->add_ids("e1");
  many.filter.mutable_entity()->add_ids("e2");
  all.push_back(many);
  many = {"three subjects, one heavy", tuples("", "", "", "organization", "heavy")};
  many.filter.mutable_subject()->add_ids("e1");
  many.filter.mutable_subject()->add_ids("e2");
  all.push_back(many);
  return all;
}

std::vector<std::pair<const char*, AttributeFilter>> attribute_filters() {
  AttributeFilter type, entity, named, other;
  type.mutable_entity()->set_type("doc");
  entity.mutable_entity()->set_type("doc");
  entity.mutable_entity()->add_ids("e3");
  named = entity;
  named.add_attributes("a1");
  other.mutable_entity()->set_type("folder");
  return {
      {"everything", {}}, {"a type", type}, {"an entity", entity}, {"one attribute", named}, {"no such type", other}};
}

SnapToken token_at(uint64_t xid) { return {SnapToken::Form::kSnapshot, xid, {xid + 1, xid + 1, {}}}; }

struct World : StorageFixture {
  explicit World(const testing::PostgresDatabase& given) : StorageFixture(given), database(given) {
    fill(database, table_rows());
    explained.emplace(database);
  }

  // `work` returns how many rows it gave.
  void check(const std::string& name, const std::function<size_t()>& work, double more = 0) {
    size_t given = 0;
    std::chrono::duration<double, std::milli> took{};
    const Cost cost = explained->cost_of([&] {
      const auto begin = std::chrono::steady_clock::now();
      given = work();
      took = std::chrono::steady_clock::now() - begin;
    });
    const double allowed = kRowsFor * static_cast<double>(given) + kRowsAtRest + more;
    const std::string told = fmt::format("{}: {} rows given, {} read, {} blocks, {:.1f} ms", name, given, cost.rows,
                                         cost.blocks, took.count());
    if (std::getenv("HEADGATE_PLAN_ROWS") != nullptr) MESSAGE(told);
    CHECK_MESSAGE(cost.statements > 0, told);
    CHECK_MESSAGE(cost.rows <= allowed, told << cost.plan);
    CHECK_MESSAGE(cost.blocks <= kBlocksForRow * allowed, told << cost.plan);
  }

  template <typename T>
  size_t size_of(const StatusOr<Page<T>>& page) {
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    next = page->next;
    return page->items.size();
  }

  // First, second and a late page, at a token.
  void check_pages(const std::string& tenant, const SnapToken& at, const std::string& when) {
    const std::string late = encode_page_token(number_of("SELECT max(id) - 300 FROM relation_tuples"));
    for (const Filtered& one : tuple_filters()) {
      next.clear();
      for (const char* which : {"first", "second", "late"}) {
        const std::string token = std::string(which) == "late" ? late : next;
        const auto ask = [&] {
          return size_of(store.reader->tuples(tenant, at, one.filter, {.size = kPageRows, .continuous_token = token}));
        };
        check(fmt::format("tuples of {}, {}, {} page {}", tenant, one.name, which, when), ask, one.more);
      }
    }
    for (const auto& one : attribute_filters()) {
      check(fmt::format("attributes of {}, {}, {}", tenant, one.first, when), [&] {
        return size_of(store.reader->attributes(tenant, at, one.second, {.size = kPageRows, .continuous_token = ""}));
      });
    }
  }

  std::string number_of(const std::string& sql) const { return database.execute(sql); }
  uint64_t xid_of(const std::string& sql) const { return std::stoull(database.execute(sql)); }

  const testing::PostgresDatabase& database;
  std::optional<Explained> explained;
  std::string next;
};

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
