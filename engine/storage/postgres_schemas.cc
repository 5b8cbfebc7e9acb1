#include "engine/model/errors.h"
#include "engine/storage/postgres_stores.h"
#include "engine/storage/schema_version.h"
#include "engine/storage/sql.h"
#include "engine/storage/tenant_life.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

constexpr char kHeadVersion[] =
    "SELECT version FROM schema_definitions WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1";

class PostgresSchemas : public SchemaStore {
 public:
  PostgresSchemas(std::shared_ptr<Pool> pool, Clock& clock) : pool_(std::move(pool)), versions_(clock) {}

  StatusOr<std::string> write(const std::string& tenant, const std::vector<SchemaRow>& rows,
                              const std::optional<std::string>& expected_head) override {
    std::string version;
    const Status status = pool_->run([&](pqxx::connection_base& connection) {
      pqxx::work work(connection);
      // A removal of the tenant comes before this or behind it, in the order as in the tables.
      work.exec(share_tenant_sql(tenant));
      // Writers of one tenant take turns, so a version sorts behind every earlier one and the head cannot move between
      // the comparison and the insert. The next statement has a snapshot of its own and sees what the last one wrote.
      work.exec_params("SELECT pg_advisory_xact_lock(hashtext('headgate.schema'), hashtext($1))", tenant);
      const pqxx::result found = work.exec_params(kHeadVersion, tenant);
      const std::string head = found.empty() ? "" : found[0][0].as<std::string>();
      if (expected_head.has_value() && *expected_head != head) {
        return api_error(base::v1::ERROR_CODE_SERIALIZATION);
      }
      HG_ASSIGN_OR_RETURN(version, versions_.next(head));
      const bool recorded = begin_life(work);
      insert(work, tenant, version, rows);
      if (recorded) record_schema(work, tenant, version, head);
      work.commit();
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    return version;
  }

  StatusOr<std::string> head_version(const std::string& tenant) override {
    std::string version;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const pqxx::result rows = pqxx::nontransaction(connection).exec_params(kHeadVersion, tenant);
      if (rows.empty()) return api_error(base::v1::ERROR_CODE_SCHEMA_NOT_FOUND);
      version = rows[0][0].as<std::string>();
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_SCAN);
    return version;
  }

  StatusOr<std::vector<SchemaRow>> read(const std::string& tenant, const std::string& version) override {
    std::vector<SchemaRow> rows;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const pqxx::result found = pqxx::nontransaction(connection)
                                     .exec_params(
                                         "SELECT name, serialized_definition FROM schema_definitions"
                                         " WHERE tenant_id = $1 AND version >= $2::bpchar AND version <= $2::bpchar"
                                         " ORDER BY version",
                                         tenant, version);
      for (const pqxx::row& row : found) rows.push_back({row[0].c_str(), pqxx::binarystring(row[1]).str()});
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    std::sort(rows.begin(), rows.end(), [](const SchemaRow& a, const SchemaRow& b) { return a.name < b.name; });
    return rows;
  }

  StatusOr<Page<SchemaVersion>> list(const std::string& tenant, const PageRequest& request) override {
    HG_ASSIGN_OR_RETURN(const std::string first, decode_page_token(request.continuous_token));
    Page<SchemaVersion> page;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const uint64_t limit = rows_for_page(request);
      const std::string sql = fmt::format(
          "WITH RECURSIVE v (version) AS ((SELECT version FROM schema_definitions"
          "  WHERE tenant_id = $1 AND version <= COALESCE(NULLIF($2::bpchar, ''), (SELECT s.version"
          "   FROM schema_definitions s WHERE s.tenant_id = $1 ORDER BY s.version DESC LIMIT 1))"
          "  ORDER BY version DESC LIMIT 1)"
          " UNION ALL SELECT (SELECT s.version FROM schema_definitions s WHERE s.tenant_id = $1"
          "  AND s.version < v.version ORDER BY s.version DESC LIMIT 1) FROM v WHERE v.version IS NOT NULL)"
          " SELECT version FROM v WHERE version IS NOT NULL LIMIT {}",
          limit);
      for (const pqxx::row& row : pqxx::nontransaction(connection).exec_params(sql, tenant, first)) {
        const std::string version = row[0].as<std::string>();
        if (page.items.size() + 1 == limit) {
          page.next = encode_page_token(version);
        } else {
          page.items.push_back({version, seconds_of_schema_version(version).value_or(0)});
        }
      }
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    return page;
  }

 private:
  static void insert(pqxx::work& work, const std::string& tenant, const std::string& version,
                     const std::vector<SchemaRow>& rows) {
    std::vector<std::string> names;
    std::vector<std::string> texts;
    for (const SchemaRow& row : rows) {
      names.push_back(row.name);
      texts.push_back(row.text);
    }
    work.exec_params(
        "INSERT INTO schema_definitions (tenant_id, version, name, serialized_definition)"
        " SELECT $1, $2, name, convert_to(text, 'UTF8') FROM unnest($3::text[], $4::text[]) AS r(name, text)",
        tenant, version, array_text(names), array_text(texts));
  }

  const std::shared_ptr<Pool> pool_;
  SchemaVersions versions_;
};

}  // namespace

std::unique_ptr<SchemaStore> make_postgres_schemas(std::shared_ptr<Pool> pool, Clock& clock) {
  return std::make_unique<PostgresSchemas>(std::move(pool), clock);
}

}  // namespace headgate::engine
