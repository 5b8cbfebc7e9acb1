#include "engine/storage/row_pages.h"

#include <algorithm>
#include <set>

#include "engine/storage/permify_tables.h"

namespace headgate::engine {

namespace {

// Combinations of listed ids that are looked up one by one.
constexpr size_t kLookUpsMax = 10'000;
// Of entity types, relations and the like, as far as look-ups are counted.
constexpr size_t kValuesOfSchema = 8;
// Of a filter without ids: so many rows are walked over, then so many are sorted, before the walk goes to its end.
constexpr uint64_t kWalked = 10'000;
constexpr uint64_t kSorted = 50'000;
constexpr uint64_t kUnbounded = INT64_MAX - 1;

// A column that a filter speaks about. Without values: any.
struct Column {
  std::string name;
  std::vector<std::string> values;  // each once
};

// An index that begins with tenant_id.
struct IndexPath {
  std::vector<std::string> columns;  // behind tenant_id
  bool has_xids = false;             // created_tx_id and expired_tx_id, at its end
};

struct Filter {
  std::string table;
  std::vector<Column> columns;

  const Column& column(std::string_view name) const {
    return *std::ranges::find_if(columns, [&](const Column& one) { return one.name == name; });
  }
  bool has(std::string_view name) const { return !column(name).values.empty(); }
  bool empty() const {
    return std::ranges::all_of(columns, [](const Column& one) { return one.values.empty(); });
  }
};

// Their columns as in permify_tables.h, and in migrations.cc for those with the id.
const IndexPath kTuplesByEntity{
    {"entity_type", "entity_id", "relation", "subject_type", "subject_id", "subject_relation"}, true};
const IndexPath kTuplesBySubject{{"subject_type", "subject_id", "subject_relation", "entity_type", "relation"}, false};
const IndexPath kAttributesByEntity{{"entity_type", "entity_id", "attribute"}, true};
const IndexPath kByXid{{}, true};
const std::vector<std::string> kType{"entity_type"}, kEntity{"entity_type", "entity_id"},
    kSubject{"subject_type", "subject_id"};

std::vector<std::string> one_or_none(const std::string& value) {
  return value.empty() ? std::vector<std::string>() : std::vector<std::string>{value};
}

std::vector<std::string> each_once(const google::protobuf::RepeatedPtrField<std::string>& values) {
  const std::set<std::string> sorted(values.begin(), values.end());
  return {sorted.begin(), sorted.end()};
}

Filter columns_of(const base::v1::TupleFilter& filter) {
  return {"relation_tuples",
          {{"entity_type", one_or_none(filter.entity().type())},
           {"entity_id", each_once(filter.entity().ids())},
           {"relation", one_or_none(filter.relation())},
           {"subject_type", one_or_none(filter.subject().type())},
           {"subject_id", each_once(filter.subject().ids())},
           {"subject_relation", one_or_none(filter.subject().relation())}}};
}

Filter columns_of(const base::v1::AttributeFilter& filter) {
  return {"attributes",
          {{"entity_type", one_or_none(filter.entity().type())},
           {"entity_id", each_once(filter.entity().ids())},
           {"attribute", each_once(filter.attributes())}}};
}

// The ranges of an index that a filter names: one for each combination of values of its first columns. A column that
// the filter leaves open in front of one that it names is gone through value by value, when it is one of the few that a
// schema has; ids are many, so a range ends there.
class Ranges {
 public:
  // `all`: each column has to be in, whether or not the filter speaks of it.
  Ranges(const Quote& quote, const std::string& tenant, const Filter& filter, const std::vector<std::string>& columns,
         bool all = false)
      : table_(filter.table), columns_{"tenant_id"}, values_{quote(tenant)} {
    size_t look_ups = 1;
    for (auto at = columns.begin(); at != columns.end(); ++at) {
      const std::vector<std::string>& values = filter.column(*at).values;
      if (values.empty() && !all && !leads_on(filter, at, columns.end())) break;
      look_ups *= values.empty() ? kValuesOfSchema : values.size();
      if (look_ups > kLookUpsMax) break;
      if (values.size() == 1) {
        add(*at, quote(values[0]));
      } else {
        add_list(*at,
                 values.empty() ? each_value_of(*at) : fmt::format("unnest({}::varchar[])", quote(array_text(values))));
      }
    }
  }

  bool has(const std::string& column) const { return std::ranges::find(columns_, column) != columns_.end(); }
  bool single() const { return lists_.empty(); }

  // The last column is no equality, because a constant is no order, and without an order the planner may choose.
  std::string condition() const {
    return fmt::format("{}{} >= {} AND {}", equalities(), columns_.back(), values_.back(), to());
  }
  // Only what has `next`, which follows in the index, at or above a value.
  std::string condition(const std::string& next, const std::string& value) const {
    return fmt::format("{}({}, {}) >= ({}, {}) AND {}", equalities(), columns_.back(), next, values_.back(), value,
                       to());
  }

  // `each` is asked for every range; their order is that of the lists.
  std::string of_each(const std::string& each) const {
    if (single()) return each;
    return fmt::format("SELECT r.* FROM {} CROSS JOIN LATERAL ({}) r", lists_, each);
  }

 private:
  using Texts = std::vector<std::string>;

  static bool leads_on(const Filter& filter, Texts::const_iterator at, Texts::const_iterator end) {
    for (; at != end; ++at) {
      if (!filter.column(*at).values.empty()) return true;
      if (at->ends_with("_id")) return false;
    }
    return false;
  }

  void add(const std::string& column, std::string value) {
    columns_.push_back(column);
    values_.push_back(std::move(value));
  }

  void add_list(const std::string& column, const std::string& list) {
    const std::string name = fmt::format("k{}", columns_.size());
    lists_ += fmt::format("{}{} {} (v)", lists_.empty() ? "" : " CROSS JOIN LATERAL ", list, name);
    add(column, name + ".v");
  }

  // The values that the column has in the range so far, by one look-up for each.
  std::string each_value_of(const std::string& column) const {
    const std::string here = fmt::format("{}{} = {}", equalities(), columns_.back(), values_.back());
    return fmt::format(
        "(WITH RECURSIVE s (v) AS ((SELECT {0} FROM {1} WHERE {2} ORDER BY {0} LIMIT 1) UNION ALL"
        " SELECT (SELECT t.{0} FROM {1} t WHERE {2} AND {0} > s.v ORDER BY {0} LIMIT 1) FROM s WHERE s.v IS NOT NULL)"
        " SELECT v FROM s WHERE v IS NOT NULL)",
        column, table_, here);
  }

  std::string equalities() const {
    std::string all;
    for (size_t i = 0; i + 1 < columns_.size(); ++i) all += fmt::format("{} = {} AND ", columns_[i], values_[i]);
    return all;
  }
  std::string to() const { return fmt::format("{} <= {}", columns_.back(), values_.back()); }

  const std::string table_;
  Texts columns_;
  Texts values_;
  std::string lists_;
};

std::string equals(const Quote& quote, const Column& column) {
  if (column.values.size() == 1) return fmt::format("{} = {}", column.name, quote(column.values[0]));
  return fmt::format("{} = ANY({}::varchar[])", column.name, quote(array_text(column.values)));
}

std::string all_of(const std::vector<std::string>& conditions) {
  return conditions.empty() ? "true" : fmt::format("{}", fmt::join(conditions, " AND "));
}

std::string order_of(const IndexPath& index) {
  std::string order = "tenant_id";
  for (const std::string& column : index.columns) order += ", " + column;
  return index.has_xids ? order + ", created_tx_id, expired_tx_id" : order;
}

// What the scan of an index can tell is a condition of it; the rest is judged row by row, so that no number of rows is
// read to find few.
struct Conditions {
  std::vector<std::string> scanned;
  std::vector<std::string> judged;
};

Conditions conditions_of(const Quote& quote, const Filter& filter, const Ranges& ranges,
                         const std::vector<std::string>& in_index) {
  Conditions conditions;
  for (const Column& column : filter.columns) {
    if (column.values.empty() || ranges.has(column.name)) continue;
    const bool scanned = column.values.size() == 1 && std::ranges::find(in_index, column.name) != in_index.end();
    (scanned ? conditions.scanned : conditions.judged).push_back(equals(quote, column));
  }
  return conditions;
}

// All rows of the filter, up to `bound`.
RowStep all_rows(const Quote& quote, const Filter& filter, const RowRange& range, const IndexPath& index,
                 uint64_t bound) {
  const Ranges ranges(quote, range.tenant, filter, index.columns);
  Conditions conditions = conditions_of(quote, filter, ranges, index.columns);
  const std::string visible = visible_at(range.at), within = visible_within(range.at);
  if (index.has_xids) conditions.scanned.push_back(within);
  if (!index.has_xids || visible != within) conditions.judged.push_back(visible);
  const std::string limit = bound == kUnbounded ? "" : fmt::format(" LIMIT {}", bound + 1);
  const std::string each =
      fmt::format("SELECT {}, {} AS ok FROM {} WHERE {} AND {} ORDER BY {}{}", range.columns, all_of(conditions.judged),
                  filter.table, ranges.condition(), all_of(conditions.scanned), order_of(index), limit);
  return {ranges.of_each(each) + (ranges.single() ? "" : limit), "(SELECT count(*) FROM found)", bound};
}

// The rows of the filter in the order of their ids, through the index (tenant_id, columns…, id, xids).
RowStep by_id(const Quote& quote, const Filter& filter, const RowRange& range,
              const std::vector<std::string>& columns) {
  const Ranges ranges(quote, range.tenant, filter, columns, true);
  Conditions conditions = conditions_of(quote, filter, ranges, {});
  conditions.judged.push_back(visible_at(range.at));
  const std::string each =
      fmt::format("SELECT {}, true AS ok FROM {} WHERE {} AND {} AND {} ORDER BY tenant_id, {}, id LIMIT {}",
                  range.columns, filter.table, ranges.condition("id", std::to_string(range.first)),
                  visible_within(range.at), all_of(conditions.judged), fmt::join(columns, ", "), range.rows);
  return {ranges.of_each(each), "0", 0};
}

// The same of one type of entities, over `walked` rows at most. It is enough when it filled the page or came to the
// end.
RowStep by_id_within(const Quote& quote, const Filter& filter, const RowRange& range, uint64_t walked) {
  const Ranges ranges(quote, range.tenant, filter, kType, true);
  Conditions conditions = conditions_of(quote, filter, ranges, {});
  conditions.judged.push_back(visible_at(range.at));
  const std::string rest = fmt::format("FROM {} WHERE {} AND {} ORDER BY tenant_id, entity_type, id", filter.table,
                                       ranges.condition("id", std::to_string(range.first)), visible_within(range.at));
  return {fmt::format("SELECT * FROM (SELECT {}, {} AS ok {} LIMIT {}) walked WHERE ok LIMIT {}", range.columns,
                      all_of(conditions.judged), rest, walked, range.rows),
          fmt::format("CASE WHEN (SELECT count(*) FROM found) < {} THEN (SELECT count(*) FROM (SELECT id {} OFFSET {}"
                      " LIMIT 1) more) ELSE 0 END",
                      range.rows, rest, walked),
          0};
}

bool covers(const Quote& quote, const Filter& filter, const RowRange& range, const std::vector<std::string>& columns) {
  return filter.has(columns.back()) && Ranges(quote, range.tenant, filter, columns).has(columns.back());
}

uint64_t few_of(const RowRange& range) { return 4 * range.rows + 200; }

const IndexPath& index_of(const Filter& filter) {
  if (filter.empty()) return kByXid;
  if (filter.table == "attributes") return kAttributesByEntity;
  const bool entity = filter.has("entity_type") || filter.has("entity_id") || filter.has("relation");
  return entity ? kTuplesByEntity : kTuplesBySubject;
}

// Without ids, or with more of them than can be looked up.
std::vector<RowStep> broad_steps(const Quote& quote, const Filter& filter, const RowRange& range) {
  const IndexPath& index = index_of(filter);
  std::vector<RowStep> steps{all_rows(quote, filter, range, index, few_of(range))};
  const size_t named = static_cast<size_t>(
      std::ranges::count_if(filter.columns, [](const Column& column) { return !column.values.empty(); }));
  if (filter.has("entity_type") && named > 1) steps.push_back(by_id_within(quote, filter, range, kWalked));
  if (!filter.has("entity_type") || named > 1) {
    if (named > 0) steps.push_back(all_rows(quote, filter, range, index, kSorted));
  }
  steps.push_back(by_id(quote, filter, range, kType));
  return steps;
}

std::string active_ids(const Quote& quote, const std::string& tenant, const Filter& filter) {
  if (filter.empty()) return "";
  const bool subject = filter.table == "relation_tuples" && filter.has("subject_id") && !filter.has("entity_id");
  const IndexPath& index = subject ? kTuplesBySubject : index_of(filter);
  const Ranges ranges(quote, tenant, filter, index.columns);
  Conditions conditions = conditions_of(quote, filter, ranges, index.columns);
  conditions.scanned.push_back(fmt::format("expired_tx_id = {}", kActive));
  const std::string each =
      fmt::format("SELECT id FROM {} WHERE {} AND {} AND {} ORDER BY {}", filter.table, ranges.condition(),
                  all_of(conditions.scanned), all_of(conditions.judged), order_of(index));
  return ranges.of_each(each);
}

}  // namespace

std::vector<RowStep> steps_of(const Quote& quote, const base::v1::TupleFilter& tuples, const RowRange& range) {
  const Filter filter = columns_of(tuples);
  const uint64_t few = few_of(range);
  const bool entity = covers(quote, filter, range, kEntity), subject = covers(quote, filter, range, kSubject);
  // What both name is little, and the index by entity has all of it.
  if (entity && subject) {
    return {all_rows(quote, filter, range, kTuplesBySubject, few),
            all_rows(quote, filter, range, kTuplesByEntity, kUnbounded)};
  }
  if (entity) {
    return {all_rows(quote, filter, range, kTuplesByEntity, few), by_id(quote, filter, range, kEntity)};
  }
  if (subject) {
    return {all_rows(quote, filter, range, kTuplesBySubject, few), by_id(quote, filter, range, kSubject)};
  }
  return broad_steps(quote, filter, range);
}

std::vector<RowStep> steps_of(const Quote& quote, const base::v1::AttributeFilter& attributes, const RowRange& range) {
  const Filter filter = columns_of(attributes);
  // An entity has as many attributes as its type names.
  if (covers(quote, filter, range, kEntity)) return {all_rows(quote, filter, range, kAttributesByEntity, kUnbounded)};
  return broad_steps(quote, filter, range);
}

std::string active_ids(const Quote& quote, const std::string& tenant, const base::v1::TupleFilter& filter) {
  return active_ids(quote, tenant, columns_of(filter));
}

std::string active_ids(const Quote& quote, const std::string& tenant, const base::v1::AttributeFilter& filter) {
  return active_ids(quote, tenant, columns_of(filter));
}

}  // namespace headgate::engine
