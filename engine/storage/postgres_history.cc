#include "engine/storage/postgres_history.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <pqxx/pqxx>

#include "base/clock.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/postgres/connect.h"
#include "base/postgres/errors.h"
#include "base/socket_watchdog.h"
#include "engine/storage/history_page.h"
#include "engine/storage/horizon.h"
#include "engine/storage/identity.h"
#include "engine/storage/lock_holders.h"
#include "engine/storage/sql.h"
#include "engine/storage/tenant_life.h"

namespace headgate::engine {

namespace {

constexpr Duration kHoldUpPatience{3};

constexpr const char* kSnapshot = "SELECT pg_current_snapshot()::text, pg_is_in_recovery()";

// The row comparisons keep the planner on the indexes that lead with tenant_id, whatever it believes about a tenant.
// $1 tenants, $2 xids; the {} are the tenant's recorded floor, where the table for it exists, and the table of lives.
constexpr const char* kTenants = R"(
SELECT CASE WHEN oldest.tenant_id = a.t THEN oldest.id::text ELSE '0' END,
       CASE WHEN newest.tenant_id = a.t THEN newest.id::text ELSE '0' END,
       {0},
       COALESCE(tuple.tenant_id = a.t AND oldest.tenant_id = a.t AND tuple.xid < oldest.id, false)
         OR COALESCE(attribute.tenant_id = a.t AND oldest.tenant_id = a.t AND attribute.xid < oldest.id, false),
       asked.tenant_id = a.t AND asked.id < pg_snapshot_xmax(pg_current_snapshot()), asked.snapshot::text,
       (SELECT xid FROM {1} e WHERE tenant_id = a.t AND kind = 1 ORDER BY xid DESC LIMIT 1),
       (SELECT xid FROM {1} e WHERE tenant_id = a.t AND kind = 2 AND NOT late ORDER BY xid DESC LIMIT 1),
       (SELECT xid FROM {1} e WHERE tenant_id = a.t AND kind = 2 AND late ORDER BY xid DESC LIMIT 1)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a(t, x, n)
LEFT JOIN LATERAL (SELECT tenant_id, id FROM transactions WHERE (tenant_id, id) >= (a.t, '0'::xid8)
                   ORDER BY tenant_id, id LIMIT 1) oldest ON true
LEFT JOIN LATERAL (SELECT tenant_id, id FROM transactions
                   WHERE (tenant_id, id) <= (a.t, '18446744073709551615'::xid8)
                   ORDER BY tenant_id DESC, id DESC LIMIT 1) newest ON true
LEFT JOIN LATERAL (SELECT tenant_id, created_tx_id AS xid FROM relation_tuples
                   WHERE (tenant_id, created_tx_id) >= (a.t, '0'::xid8)
                   ORDER BY tenant_id, created_tx_id LIMIT 1) tuple ON true
LEFT JOIN LATERAL (SELECT tenant_id, created_tx_id AS xid FROM attributes
                   WHERE (tenant_id, created_tx_id) >= (a.t, '0'::xid8)
                   ORDER BY tenant_id, created_tx_id LIMIT 1) attribute ON true
LEFT JOIN transactions asked ON asked.id = a.x::xid8 AND a.x <> '0'
ORDER BY a.n)";

constexpr const char* kNextAfter = R"(
SELECT COALESCE(LEAST(CASE WHEN r.tenant_id = a.t THEN r.id END,
                      (SELECT xid FROM {} e WHERE tenant_id = a.t AND xid > a.x::xid8 ORDER BY xid LIMIT 1))::text, '0')
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a(t, x, n)
LEFT JOIN LATERAL (SELECT tenant_id, id FROM transactions WHERE (tenant_id, id) > (a.t, a.x::xid8)
                   ORDER BY tenant_id, id LIMIT 1) r ON true
ORDER BY a.n)";

// Comparisons as numbers: xid8 knows no arithmetic.
constexpr const char* kCollectedBehind = R"(
SELECT tenant_id, floor, EXISTS (SELECT FROM {} e WHERE e.tenant_id = f.tenant_id AND e.kind = 2 AND NOT e.late
                                 AND e.xid::text::numeric >= f.floor::text::numeric - 1)
FROM headgate.gc_floors f
WHERE floor > $1::xid8 AND (floor > $2::xid8 OR EXISTS (SELECT FROM transactions t WHERE t.tenant_id = f.tenant_id)))";

class PostgresHistory : public HistoryReader {
 public:
  PostgresHistory(std::unique_ptr<PgConnection> connection, const HistorySettings& settings)
      : owned_(std::move(connection)), connection_(*owned_), socket_(::dup(connection_.sock())), pages_(connection_) {
    // The owner breaks later calls by interrupt(), which it cannot before it has us.
    SocketWatchdog watchdog;
    const auto watch = watchdog.watch(socket_, 2 * settings.connect_timeout);
    pqxx::nontransaction work(connection_);
    work.exec(fmt::format("SET statement_timeout = {}", settings.statement_timeout.count()));
    // READ COMMITTED gives every statement a snapshot of its own.
    work.exec(fmt::format("{} SET default_transaction_isolation = 'read committed'", kPinnedPlans));
    standby_ = truth(work.exec1("SELECT pg_is_in_recovery()")[0]);
    const pqxx::row tables = work.exec1(
        "SELECT to_regclass('headgate.gc_floors') IS NOT NULL, to_regclass('headgate.incarnations') IS NOT NULL");
    has_floor_ = truth(tables[0]);
    pages_.has_floors(has_floor_);
    has_incarnations_ = truth(tables[1]);
  }

  ~PostgresHistory() override { ::close(socket_); }

  StatusOr<Incarnation> incarnation() override {
    return guarded<Incarnation>([&] { return read_incarnation(); });
  }

  StatusOr<uint64_t> horizon() override {
    return guarded<uint64_t>([&]() -> StatusOr<uint64_t> {
      HG_ASSIGN_OR_RETURN(const PgSnapshot before, snapshot());
      if (before.xmax == horizon_) return horizon_;
      if (before.in_progress.empty() || before.xmin > horizon_) {
        horizon_ = std::max(horizon_, horizon_of(before));
      } else {
        HG_ASSIGN_OR_RETURN(const Running running, refine(before));
        horizon_ = std::max(horizon_, running.horizon());
      }
      return horizon_;
    });
  }

  StatusOr<PgSnapshot> now() override {
    HG_ASSIGN_OR_RETURN(const Running found, running());
    PgSnapshot snapshot{found.horizon(), found.xmax, {}};
    for (const RunningTransaction& one : found.transactions) snapshot.in_progress.push_back(one.xid);
    return snapshot;
  }

  StatusOr<Running> running() override {
    return guarded<Running>([&]() -> StatusOr<Running> {
      HG_ASSIGN_OR_RETURN(const PgSnapshot before, snapshot());
      if (before.in_progress.empty()) return Running{before.xmax, {}};
      return refine(before);
    });
  }

  StatusOr<HistoryPage> page(XidRange range, std::span<const std::string> tenants, PageLimit limit) override {
    return guarded<HistoryPage>([&] { return pages_.read(range, tenants, limit); });
  }

  StatusOr<HistoryTail> tail(uint64_t from, PageLimit limit, bool quiet) override {
    if (quiet) {
      HG_ASSIGN_OR_RETURN(const uint64_t reached, horizon());
      if (reached <= from) return HistoryTail{reached, {{}, from}, counter_};
    }
    return guarded<HistoryTail>([&] { return read_tail(from, limit); });
  }

  StatusOr<std::vector<TenantHistory>> tenants(std::span<const std::string> names,
                                               std::span<const uint64_t> xids) override {
    return guarded<std::vector<TenantHistory>>([&] { return read_tenants(names, xids); });
  }

  StatusOr<std::vector<uint64_t>> next_after(std::span<const std::string> names,
                                             std::span<const uint64_t> after) override {
    return guarded<std::vector<uint64_t>>([&] {
      pqxx::nontransaction work(connection_);
      return numbers(work.exec_params(fmt::format(kNextAfter, lives(work)), array_text(names), array_text(after)));
    });
  }

  StatusOr<std::vector<uint64_t>> rows_among(const std::string& name, std::span<const uint64_t> xids) override {
    return guarded<std::vector<uint64_t>>([&] {
      pqxx::nontransaction work(connection_);
      return numbers(work.exec_params(
          fmt::format("SELECT r.id FROM unnest($1::text[]) x CROSS JOIN LATERAL ("
                      "(SELECT id FROM transactions WHERE id = x::xid8 AND tenant_id = $2 OFFSET 0) UNION"
                      " (SELECT xid FROM {} e WHERE xid = x::xid8 AND tenant_id = $2 OFFSET 0)) r ORDER BY 1",
                      lives(work)),
          array_text(xids), name));
    });
  }

  StatusOr<std::vector<TenantFloor>> collected_behind(uint64_t xid, uint64_t removed_behind) override {
    return guarded<std::vector<TenantFloor>>([&] {
      std::vector<TenantFloor> found;
      if (!has_floor_) return found;
      pqxx::nontransaction work(connection_);
      for (const pqxx::row& row : work.exec_params(fmt::format(kCollectedBehind, lives(work)), std::to_string(xid),
                                                   std::to_string(removed_behind))) {
        found.push_back({row[0].c_str(), number(row[1]), truth(row[2])});
      }
      return found;
    });
  }

  StatusOr<TransactionIdentity> newest_below(uint64_t xid) override {
    return guarded<TransactionIdentity>([&] {
      pqxx::nontransaction work(connection_);
      return engine::newest_below(work, lives(work), xid);
    });
  }

  StatusOr<std::vector<bool>> intact(std::span<const TransactionIdentity> seen) override {
    return guarded<std::vector<bool>>([&] {
      pqxx::nontransaction work(connection_);
      return engine::intact(work, lives(work), has_floor_, seen);
    });
  }

  StatusOr<std::vector<std::string>> with_history() override {
    return guarded<std::vector<std::string>>([&] {
      pqxx::nontransaction work(connection_);
      std::vector<std::string> found;
      for (const pqxx::row& row : work.exec(kTenantsWithHistory)) found.emplace_back(row[0].c_str());
      return found;
    });
  }

  StatusOr<uint64_t> count(XidRange range) override {
    return guarded<uint64_t>([&] {
      pqxx::nontransaction work(connection_);
      return number(work.exec_params1(
          fmt::format("SELECT (SELECT count(*) FROM transactions WHERE id >= $1::xid8 AND id < $2::xid8)"
                      " + (SELECT count(*) FROM {} e WHERE xid >= $1::xid8 AND xid < $2::xid8)",
                      lives(work)),
          std::to_string(range.from), std::to_string(range.to))[0]);
    });
  }

  StatusOr<uint64_t> tenant_changes() override {
    return guarded<uint64_t>([&] {
      pqxx::nontransaction work(connection_);
      return number(
          work.exec1("SELECT sum(pg_stat_get_tuples_inserted(r) + pg_stat_get_tuples_deleted(r)) FROM"
                     " unnest('{tenants, schema_definitions}'::regclass[]) r")[0]);
    });
  }

  StatusOr<std::vector<std::string>> registered() override {
    return guarded<std::vector<std::string>>([&] {
      pqxx::nontransaction work(connection_);
      std::vector<std::string> found;
      for (const pqxx::row& row : work.exec("SELECT id FROM tenants ORDER BY id COLLATE \"C\"")) {
        found.emplace_back(row[0].c_str());
      }
      return found;
    });
  }

  StatusOr<std::vector<std::string>> unrecorded(std::span<const std::string> names) override {
    return guarded<std::vector<std::string>>([&] {
      pqxx::nontransaction work(connection_);
      std::vector<std::string> found(names.begin(), names.end());
      if (!has_known_table(work)) return found;
      found.clear();
      for (const pqxx::row& row : work.exec_params(
               "SELECT tenant_id FROM headgate.tenants_known WHERE tenant_id = ANY($1::text[])", array_text(names))) {
        found.emplace_back(row[0].c_str());
      }
      return found;
    });
  }

  StatusOr<MissedLives> record_missed_lives() override {
    return guarded<MissedLives>([&] { return record_missed(connection_); });
  }

  StatusOr<bool> record_missed_life(const std::string& name) override {
    return guarded<bool>([&] { return record_missed(connection_, name); });
  }

  void interrupt() override { ::shutdown(socket_, SHUT_RDWR); }

 private:
  template <typename T>
  static StatusOr<T> guarded(const std::function<StatusOr<T>()>& work) {
    try {
      return work();
    } catch (...) {
      return status_of_postgres_exception();
    }
  }

  std::string lives(pqxx::transaction_base& work) { return life_table(pages_.has_lives(work)); }

  static std::vector<uint64_t> numbers(const pqxx::result& rows) {
    std::vector<uint64_t> values;
    values.reserve(rows.size());
    for (const pqxx::row& row : rows) values.push_back(number(row[0]));
    return values;
  }

  // A pooler in between may lead to another server without a new connection.
  Status check_counter(const PgSnapshot& snapshot) {
    if (snapshot.xmax < counter_) return unavailable("the database's counter fell; its history is looked at again");
    counter_ = snapshot.xmax;
    return ok_status();
  }

  // A standby does not show which transactions are in progress, nor locks of the primary: xmin is all it can say.
  StatusOr<PgSnapshot> snapshot() {
    pqxx::nontransaction work(connection_);
    const pqxx::row row = work.exec1(kSnapshot);
    if (truth(row[1]) != standby_) return unavailable("the database was promoted; its history is looked at again");
    HG_ASSIGN_OR_RETURN(PgSnapshot snapshot, parse_pg_snapshot(row[0].c_str()));
    HG_RETURN_IF_ERROR(check_counter(snapshot));
    if (standby_) return PgSnapshot{snapshot.xmin, snapshot.xmin, {}};
    return snapshot;
  }

  // An engine's own transaction ends in a moment; only what stays is worth a look at the locks.
  bool held_up_for_long(uint64_t by) {
    const MonotonicTime now = system_clock().now();
    if (by != held_up_by_) {
      held_up_by_ = by;
      held_up_since_ = now;
    }
    return now - held_up_since_ >= kHoldUpPatience;
  }

  StatusOr<HistoryTail> read_tail(uint64_t from, PageLimit limit) {
    if (!standby_) {
      HG_ASSIGN_OR_RETURN(PageReader::Tail tail, pages_.read_tail(from));
      if (tail.in_recovery) return unavailable("the database became a standby; its history is looked at again");
      if (tail.complete) {
        HG_ASSIGN_OR_RETURN(const PgSnapshot snapshot, parse_pg_snapshot(tail.snapshot));
        HG_RETURN_IF_ERROR(check_counter(snapshot));
        const uint64_t reached = horizon_of(snapshot);
        if (reached > from) {
          horizon_ = std::max(horizon_, reached);
          return HistoryTail{horizon_, {std::move(tail.transactions), reached, tail.highest_floor}, snapshot.xmax};
        }
        if (snapshot.xmax <= from || !held_up_for_long(reached))
          return HistoryTail{horizon_, {{}, from}, snapshot.xmax};
      }
    }
    HG_ASSIGN_OR_RETURN(const uint64_t reached, horizon());
    if (reached <= from) return HistoryTail{reached, {{}, from}, counter_};
    HG_ASSIGN_OR_RETURN(HistoryPage found, page({from, reached}, {}, limit));
    return HistoryTail{reached, std::move(found), counter_};
  }

  // What engine transactions were in progress at `before`, and at whose hands.
  StatusOr<Running> refine(PgSnapshot before) {
    const LockHolders holders = lock_holders();
    if (!headgate::guarded(Guard::kLockOrder)) {
      HG_ASSIGN_OR_RETURN(before, snapshot());
    }
    HG_ASSIGN_OR_RETURN(const PgSnapshot after, snapshot());
    return running_of(engine_snapshot(before, holders, after), holders);
  }

  LockHolders lock_holders() {
    pqxx::nontransaction work(connection_);
    return read_lock_holders(work);
  }

  StatusOr<std::vector<TenantHistory>> read_tenants(std::span<const std::string> names,
                                                    std::span<const uint64_t> xids) {
    pqxx::nontransaction work(connection_);
    const std::string sql = fmt::format(
        kTenants, has_floor_ ? "(SELECT f.floor::text FROM headgate.gc_floors f WHERE f.tenant_id = a.t)" : "NULL",
        lives(work));
    std::vector<TenantHistory> answers;
    answers.reserve(names.size());
    for (const pqxx::row& row : work.exec_params(sql, array_text(names), array_text(xids))) {
      TenantHistory history{.oldest_xid = number(row[0]), .newest_xid = number(row[1])};
      if (!row[2].is_null()) history.floor = number(row[2]);
      // Rows older than the oldest transaction prove that a collector has been there.
      if (truth(row[3])) history.floor = std::max(history.floor, history.oldest_xid);
      history.has_xid = truth(row[4]);
      history.xid_elsewhere = !row[4].is_null() && !history.has_xid;
      if (history.has_xid) {
        HG_ASSIGN_OR_RETURN(history.snapshot, parse_pg_snapshot(row[5].c_str()));
      }
      if (!row[6].is_null()) history.created_xid = number(row[6]);
      if (!row[7].is_null()) history.removed_xid = number(row[7]);
      if (!row[8].is_null()) history.removed_late_xid = number(row[8]);
      answers.push_back(std::move(history));
    }
    return answers;
  }

  StatusOr<Incarnation> read_incarnation() {
    pqxx::nontransaction work(connection_);
    const std::string id = work.exec1(fmt::format("SELECT {}", kIncarnationId))[0].c_str();
    // Without our own tables, tokens of an earlier incarnation cannot be told; everything else works.
    if (!has_incarnations_) {
      log_warn("incarnation_not_recorded", {{"incarnation", id}});
      return Incarnation{id, 0, standby_};
    }
    if (!standby_) record(work, id);
    const pqxx::result known = work.exec_params("SELECT first_xid FROM headgate.incarnations WHERE id = $1", id);
    return Incarnation{id, known.empty() ? 0 : number(known[0][0]), standby_};
  }

  // The history that was there before us has no earlier incarnation that we know of: its first xid is 0.
  static void record(pqxx::nontransaction& work, const std::string& id) {
    work.exec_params(
        "INSERT INTO headgate.incarnations (id, first_xid)"
        " SELECT $1::text, CASE WHEN EXISTS (SELECT FROM headgate.incarnations)"
        " THEN pg_snapshot_xmax(pg_current_snapshot()) ELSE '0'::xid8 END"
        " WHERE NOT EXISTS (SELECT FROM headgate.incarnations WHERE id = $1::text) ON CONFLICT DO NOTHING",
        id);
  }

  const std::unique_ptr<PgConnection> owned_;
  PgConnection& connection_;
  const int socket_;  // the same socket; ours to shut down from another thread
  PageReader pages_;
  bool standby_ = false;
  bool has_floor_ = false;
  bool has_incarnations_ = false;
  uint64_t horizon_ = 0;
  uint64_t counter_ = 0;     // the highest xmax seen
  uint64_t held_up_by_ = 0;  // the lowest xid in progress that let a tail end in front of it
  MonotonicTime held_up_since_{};
};

}  // namespace

StatusOr<std::unique_ptr<HistoryReader>> open_history(const HistorySettings& settings) {
  HG_ASSIGN_OR_RETURN(
      auto connection,
      connect_postgres({settings.uri, settings.connect_timeout, settings.application_name}, settings.stop));
  try {
    return std::make_unique<PostgresHistory>(std::move(connection), settings);
  } catch (...) {
    return status_of_postgres_exception();
  }
}

}  // namespace headgate::engine
