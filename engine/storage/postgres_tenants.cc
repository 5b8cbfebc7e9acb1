#include <google/protobuf/timestamp.pb.h>

#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/storage/postgres_stores.h"
#include "engine/storage/sql.h"
#include "engine/storage/tenant_life.h"
#include "engine/storage/unreadable.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

using base::v1::Tenant;

constexpr char kTenantColumns[] = "id, COALESCE(name, '') AS name, " HG_SQL_MICROS("created_at") " AS micros";

Tenant tenant_of(const pqxx::row& row) {
  Tenant tenant;
  tenant.set_id(row["id"].c_str());
  if (is_text(row["name"].c_str())) tenant.set_name(row["name"].c_str());
  const int64_t micros = row["micros"].as<int64_t>();
  tenant.mutable_created_at()->set_seconds(micros / 1'000'000);
  tenant.mutable_created_at()->set_nanos(static_cast<int32_t>(micros % 1'000'000) * 1000);
  return tenant;
}

// The floor, behind this transaction, makes tokens of the deleted history fail instead of reading an emptier past.
// Those of a writer of another program that took no lock, was in progress meanwhile and whose rows survive fail as
// well: in the order of events its rows are in front of the removal.
constexpr char kRecordRemovalFloor[] =
    "INSERT INTO headgate.gc_floors AS f (tenant_id, floor)"
    " SELECT $1::varchar, (pg_current_xact_id()::text::bigint + 1)::text::xid8 WHERE EXISTS (SELECT FROM transactions "
    "WHERE tenant_id = $1)"
    " ON CONFLICT (tenant_id) DO UPDATE SET floor = excluded.floor, recorded_at = now() WHERE f.floor < excluded.floor";

class PostgresTenants : public TenantStore {
 public:
  explicit PostgresTenants(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}

  StatusOr<Tenant> create(const std::string& id, const std::string& name) override {
    Tenant tenant;
    const Status status = pool_->run([&](pqxx::connection_base& connection) {
      // Another program may have removed a tenant of this name, and that belongs in front of its new life.
      record_missed(connection, id);
      pqxx::work work(connection);
      // A removal of the same name gets its place in the order first, and whoever writes to the tenant comes later.
      work.exec(lock_tenant_sql(id));
      const bool recorded = begin_life(work);
      tenant = tenant_of(work.exec_params1(
          fmt::format("INSERT INTO tenants (id, name) VALUES ($1, $2) RETURNING {}", kTenantColumns), id, name));
      if (recorded) record_created(work, id);
      work.commit();
      return ok_status();
    });
    if (status.code() == StatusCode::kAborted) return api_error(base::v1::ERROR_CODE_UNIQUE_CONSTRAINT);
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    return tenant;
  }

  Status remove(const std::string& id) override {
    const Status status = pool_->run([&](pqxx::connection_base& connection) {
      pqxx::work work(connection);
      // Writers of the tenant that have begun finish first, and those that follow wait.
      work.exec(lock_tenant_sql(id));
      const bool recorded = begin_life(work);
      if (work.exec_params("SELECT 1 FROM tenants WHERE id = $1 FOR UPDATE", id).empty()) {
        return api_error(base::v1::ERROR_CODE_NOT_FOUND);
      }
      work.exec_params(kRecordRemovalFloor, id);
      for (const char* table : {"bundles", "relation_tuples", "attributes", "schema_definitions", "transactions"}) {
        work.exec_params(fmt::format("DELETE FROM {} WHERE tenant_id = $1", table), id);
      }
      work.exec_params("DELETE FROM tenants WHERE id = $1", id);
      if (recorded) record_removed(work, id);
      work.commit();
      return ok_status();
    });
    return client_error(status, base::v1::ERROR_CODE_EXECUTION);
  }

  StatusOr<Page<Tenant>> list(const PageRequest& request) override {
    HG_ASSIGN_OR_RETURN(const std::string first, decode_page_token(request.continuous_token));
    Page<Tenant> page;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const uint64_t limit = rows_for_page(request);
      const pqxx::result rows =
          pqxx::nontransaction(connection)
              .exec_params(
                  fmt::format("SELECT {} FROM tenants WHERE id >= $1 ORDER BY id LIMIT {}", kTenantColumns, limit),
                  first);
      for (const pqxx::row& row : rows) {
        if (page.items.size() + 1 == limit) {
          page.next = encode_page_token(row["id"].c_str());
        } else if (is_tenant_name(row["id"].c_str())) {
          page.items.push_back(tenant_of(row));
        } else {
          // No message can carry it, and it must not keep clients from all others.
          log_error(
              "row_unreadable",
              {{"row", fmt::format("row of tenants ({}): its id is empty or no UTF-8", shown(row["id"].c_str()))}});
        }
      }
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    return page;
  }

 private:
  const std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<TenantStore> make_postgres_tenants(std::shared_ptr<Pool> pool) {
  return std::make_unique<PostgresTenants>(std::move(pool));
}

}  // namespace headgate::engine
