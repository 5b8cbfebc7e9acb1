// What the tests of plans share: skewed data, and the server's own account of what each statement read (auto_explain),
// so that what is judged is what the code sends. HEADGATE_PLAN_ROWS=2000000 makes the tables larger. Only *_test.cc
// files include this.
#pragma once

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/storage/history_removal.h"
#include "engine/storage/postgres_history.h"
#include "engine/storage/snapshot_reader.h"
#include "engine/storage/storage_fixture.h"

namespace headgate::engine {

using base::v1::AttributeFilter;
using base::v1::TupleFilter;
using nlohmann::json;

// What an answer may cost beyond a multiple of its rows, in rows that were looked at.
inline constexpr double kRowsFor = 12, kRowsAtRest = 1'200;
inline constexpr double kBlocksForRow = 8;
inline constexpr uint32_t kPageRows = 100;
// What a filter may read besides for which no index has exactly its rows in the order of their ids: see row_pages.
inline constexpr double kWalkedAndSorted = 20'000 + 50'000;

inline int64_t table_rows() {
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

inline double scanned(const json& node) {
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
inline constexpr char kFill[] = R"sql(
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

inline void fill(const testing::PostgresDatabase& database, int64_t rows) {
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

inline TupleFilter tuples(const std::string& entity_type, const std::string& entity, const std::string& relation,
                          const std::string& subject_type = "", const std::string& subject = "") {
  TupleFilter filter;
  filter.mutable_entity()->set_type(entity_type);
  if (!entity.empty()) filter.mutable_entity()->add_ids(entity);
  filter.set_relation(relation);
  filter.mutable_subject()->set_type(subject_type);
  if (!subject.empty()) filter.mutable_subject()->add_ids(subject);
  return filter;
}

inline std::vector<Filtered> tuple_filters() {
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

inline std::vector<std::pair<const char*, AttributeFilter>> attribute_filters() {
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

inline SnapToken token_at(uint64_t xid) { return {SnapToken::Form::kSnapshot, xid, {xid + 1, xid + 1, {}}}; }

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

}  // namespace headgate::engine
