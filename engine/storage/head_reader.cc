#include "engine/storage/head_reader.h"

#include "engine/storage/sql.h"

namespace headgate::engine {

namespace {

constexpr char kHeads[] =
    "PREPARE headgate_heads (varchar[]) AS SELECT pg_current_snapshot()::text, pg_is_in_recovery(), q.n,"
    " (SELECT version FROM schema_definitions WHERE tenant_id = q.t ORDER BY version DESC LIMIT 1)"
    " FROM (SELECT pg_current_snapshot()) s LEFT JOIN unnest($1) WITH ORDINALITY q(t, n) ON true";

// A standby does not tell which transactions are in progress, only that none is below xmin.
SnapToken token_of(PgSnapshot now, bool standby) {
  if (standby) now = {now.xmin, now.xmin, {}};
  return {SnapToken::Form::kSnapshot, now.xmin - 1, now};
}

class PostgresHeads : public HeadReader {
 public:
  explicit PostgresHeads(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}

  StatusOr<Heads> read(std::span<const std::string> tenants) override {
    Heads heads;
    const Status status = pool_->read(setup_, [&](pqxx::connection_base& connection) {
      const pqxx::result rows =
          pqxx::nontransaction(connection)
              .exec(fmt::format("{}EXECUTE headgate_heads ({})", kPlannedOnce, connection.quote(array_text(tenants))));
      HG_ASSIGN_OR_RETURN(const PgSnapshot now, parse_pg_snapshot(rows[0][0].c_str()));
      heads.standby = truth(rows[0][1]);
      heads.at = token_of(now, heads.standby);
      heads.versions.assign(tenants.size(), "");
      for (const pqxx::row& row : rows) {
        if (!row[2].is_null() && !row[3].is_null()) heads.versions[number(row[2]) - 1] = row[3].c_str();
      }
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_SCAN);
    return heads;
  }

 private:
  const std::shared_ptr<Pool> pool_;
  const SessionSetup setup_{"headgate_heads", kHeads};
};

}  // namespace

std::unique_ptr<HeadReader> make_head_reader(std::shared_ptr<Pool> pool) {
  return std::make_unique<PostgresHeads>(std::move(pool));
}

}  // namespace headgate::engine
