#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/storage/attribute_json.h"
#include "engine/storage/postgres_stores.h"
#include "engine/storage/readable.h"
#include "engine/storage/row_pages.h"
#include "engine/storage/sql.h"
#include "engine/storage/unreadable.h"

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::AttributeFilter;
using base::v1::Tuple;
using base::v1::TupleFilter;

// One statement sees the newest transaction, everything in progress, and no writer between the two.
constexpr char kHead[] =
    "SELECT (SELECT id FROM transactions WHERE (tenant_id, id) >= ($1, '0'::xid8)"
    " AND (tenant_id, id) <= ($1, '18446744073709551615'::xid8) ORDER BY tenant_id DESC, id DESC LIMIT 1),"
    " pg_current_snapshot()";

// Rows come with what decides whether the token can be answered at all, read in the same snapshot: a floor is recorded
// before rows are removed, so when rows are missing here the floor is seen here too. `given` tells whether the step was
// enough; when it was not, the rows are of no use.
constexpr char kPage[] =
    "WITH found AS MATERIALIZED ({step}), state AS MATERIALIZED (SELECT {given} AS given),"
    " page AS MATERIALIZED (SELECT * FROM found WHERE ok AND id >= {first}"
    "  AND (SELECT given FROM state) <= {bound} ORDER BY id LIMIT {rows})"
    " SELECT g.floor, g.known, g.horizon, g.standby, g.given, r.* FROM ("
    "SELECT (SELECT floor FROM headgate.gc_floors WHERE tenant_id = {tenant}) AS floor, {known} AS known,"
    " pg_snapshot_xmax(pg_current_snapshot()) AS horizon, pg_is_in_recovery() AS standby,"
    " (SELECT given FROM state) AS given) g"
    " LEFT JOIN ({shown}) r ON true ORDER BY r.id";

// Behind so many stored bytes of values the rows of a page come without them: the next page begins there. Without this
// one page could be gigabytes.
constexpr size_t kPageBytes = 2 << 20;

constexpr char kTupleColumns[] = "id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation";
constexpr char kTuplesOfPage[] =
    "SELECT id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation FROM page";
constexpr char kAttributesOfPage[] =
    "SELECT id, entity_type, entity_id, attribute, CASE WHEN sum(pg_column_size(value)) OVER (ORDER BY id)"
    " - pg_column_size(value) < {} THEN value END AS value FROM (SELECT t.* FROM page CROSS JOIN LATERAL"
    " (SELECT * FROM attributes WHERE id = page.id OFFSET 0) t) rows_of_page";

Status check_texts(const pqxx::row& row, const char* table) {
  // In front of the columns of the table stand those of the check.
  for (const pqxx::field& field : row) {
    if (is_text(field.c_str())) continue;
    return refuse_unreadable(
        fmt::format("row {} of {}: {} is no UTF-8", row["id"].c_str(), table, shown(field.c_str())));
  }
  return ok_status();
}

Status append(const pqxx::row& row, std::vector<Tuple>& items) {
  HG_RETURN_IF_ERROR(check_texts(row, "relation_tuples"));
  Tuple& tuple = items.emplace_back();
  tuple.mutable_entity()->set_type(row["entity_type"].c_str());
  tuple.mutable_entity()->set_id(row["entity_id"].c_str());
  tuple.set_relation(row["relation"].c_str());
  tuple.mutable_subject()->set_type(row["subject_type"].c_str());
  tuple.mutable_subject()->set_id(row["subject_id"].c_str());
  tuple.mutable_subject()->set_relation(row["subject_relation"].c_str());
  return ok_status();
}

bool is_cut(const pqxx::row&, const std::vector<Tuple>&) { return false; }
bool is_cut(const pqxx::row& row, const std::vector<Attribute>&) { return row["value"].is_null(); }

Status append(const pqxx::row& row, std::vector<Attribute>& items) {
  HG_RETURN_IF_ERROR(check_texts(row, "attributes"));
  auto value = attribute_value_from_json(row["value"].c_str());
  if (!value.ok()) {
    return refuse_unreadable(unreadable_attribute(to_xid(row["id"]), row["entity_type"].c_str(),
                                                  row["entity_id"].c_str(), row["attribute"].c_str(), value.status()));
  }
  Attribute& attribute = items.emplace_back();
  attribute.mutable_entity()->set_type(row["entity_type"].c_str());
  attribute.mutable_entity()->set_id(row["entity_id"].c_str());
  attribute.set_attribute(row["attribute"].c_str());
  *attribute.mutable_value() = *std::move(value);
  return ok_status();
}

class PostgresReader : public DataReader {
 public:
  explicit PostgresReader(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}

  StatusOr<SnapToken> head(const std::string& tenant) override {
    SnapToken token;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const pqxx::row row = pqxx::nontransaction(connection).exec_params1(kHead, tenant);
      const uint64_t newest = to_xid(row[0]);
      if (newest == 0) return ok_status();
      HG_ASSIGN_OR_RETURN(const PgSnapshot now, parse_pg_snapshot(row[1].c_str()));
      token = head_of(newest, now);
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_SCAN);
    return token;
  }

  StatusOr<Page<Tuple>> tuples(const std::string& tenant, const SnapToken& at, const TupleFilter& filter,
                               const PageRequest& page) override {
    return read<Tuple>(tenant, at, filter, page, {kTupleColumns, kTuplesOfPage});
  }

  StatusOr<Page<Attribute>> attributes(const std::string& tenant, const SnapToken& at, const AttributeFilter& filter,
                                       const PageRequest& page) override {
    return read<Attribute>(tenant, at, filter, page, {"id", fmt::format(kAttributesOfPage, kPageBytes)});
  }

 private:
  struct Source {
    std::string columns;  // of the rows that are looked at
    std::string shown;    // a query expression over the rows of the page
  };

  // `newest` is the tenant's newest visible transaction, so among the xids above it none of the tenant is visible: the
  // state at `now` equals the state up to `newest` without those that were in progress. Unlike `now` itself, this
  // stays the same text until the tenant is written to.
  static SnapToken head_of(uint64_t newest, const PgSnapshot& now) {
    SnapToken token{SnapToken::Form::kSnapshot, newest, {newest + 1, newest + 1, {}}};
    for (const uint64_t xid : now.in_progress) {
      if (xid < newest) token.snapshot.in_progress.push_back(xid);
    }
    if (!token.snapshot.in_progress.empty()) token.snapshot.xmin = token.snapshot.in_progress.front();
    return token;
  }

  template <typename T, typename Filter>
  StatusOr<Page<T>> read(const std::string& tenant, const SnapToken& at, const Filter& filter,
                         const PageRequest& request, const Source& source) {
    HG_ASSIGN_OR_RETURN(const int64_t first, decode_row_token(request.continuous_token));
    Page<T> page;
    // Nothing precedes every transaction; this is the head of a tenant that was never written to.
    if (at.form == SnapToken::Form::kLegacy && at.xid == 0) return page;
    const RowRange range{tenant, at, first, rows_for_page(request), source.columns};
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const Quote quote = [&](const std::string& text) { return connection.quote(text); };
      for (const RowStep& step : steps_of(quote, filter, range)) {
        const pqxx::result rows = pqxx::nontransaction(connection).exec(page_sql(quote, range, step, source));
        HG_RETURN_IF_ERROR(check_readable(at, {to_xid(rows[0]["floor"]), to_xid(rows[0]["horizon"]),
                                               truth(rows[0]["standby"]), truth(rows[0]["known"])}));
        page = {};
        HG_RETURN_IF_ERROR(fill(page, rows, range.rows));
        if (number(rows[0]["given"]) <= step.bound) break;
      }
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    return page;
  }

  static std::string page_sql(const Quote& quote, const RowRange& range, const RowStep& step, const Source& source) {
    const bool legacy = range.at.form == SnapToken::Form::kLegacy;
    const std::string known =
        legacy ? fmt::format("EXISTS (SELECT FROM transactions WHERE id = '{}'::xid8)", range.at.xid) : "true";
    return fmt::format(kPage, fmt::arg("step", step.sql), fmt::arg("first", range.first), fmt::arg("given", step.given),
                       fmt::arg("bound", step.bound), fmt::arg("rows", range.rows),
                       fmt::arg("tenant", quote(range.tenant)), fmt::arg("known", known),
                       fmt::arg("shown", source.shown));
  }

  template <typename T>
  static Status fill(Page<T>& page, const pqxx::result& rows, uint64_t limit) {
    for (const pqxx::row& row : rows) {
      if (row["id"].is_null()) break;
      if (page.items.size() + 1 == limit || is_cut(row, page.items)) {
        page.next = encode_page_token(row["id"].c_str());
        break;
      }
      HG_RETURN_IF_ERROR(append(row, page.items));
    }
    return ok_status();
  }

  const std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<DataReader> make_postgres_reader(std::shared_ptr<Pool> pool) {
  return std::make_unique<PostgresReader>(std::move(pool));
}

}  // namespace headgate::engine
