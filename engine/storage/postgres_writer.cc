#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/storage/postgres_stores.h"
#include "engine/storage/sql.h"
#include "engine/storage/write_locks.h"
#include "engine/storage/write_statements.h"

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::AttributeFilter;
using base::v1::Tuple;
using base::v1::TupleFilter;

using Fill = std::function<Status(WriteStatements&)>;

// What became of one attempt.
struct Attempt {
  SnapToken token;        // of the transaction, once it has begun
  bool sent = false;      // a connection was found and BEGIN was sent
  bool in_doubt = false;  // the connection broke after COMMIT was sent
  int backend = 0;
};

constexpr char kUnlock[] = ";EXECUTE headgate_unlock";

// The locks are taken in a transaction of their own, because the snapshot must come after them; they are the session's
// and outlast it. The INSERT takes its lock on the table before the row's default draws the xid, and in SERIALIZABLE
// the snapshot is taken before both. So whoever sees this xid in progress finds its holder in pg_locks, and no
// transaction sees one with a higher xid: that is what the feed's horizon and the order of xids rest on.
std::string begin_of(pqxx::connection& connection, const std::string& tenant, const WriteLocks& locks, bool at_head) {
  const std::string lock = locks.sql();
  return fmt::format(
      "{}BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE;"
      "EXECUTE {} ({})",
      lock.empty() ? "" : "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;" + lock + "COMMIT;",
      at_head ? "headgate_begin_at_head" : "headgate_begin", connection.quote(tenant));
}

// Ended by the server's end of the connection rather than by the statement; says nothing about the commit.
bool connection_lost(const pqxx::connection& connection, const Status& status) {
  return !connection.is_open() || status.code() == StatusCode::kUnavailable;
}

class PostgresWriter : public DataWriter {
 public:
  PostgresWriter(std::shared_ptr<Pool> pool, DatastoreSettings settings)
      : pool_(std::move(pool)), settings_(std::move(settings)) {}

  StatusOr<SnapToken> write(const std::string& tenant, const std::vector<Tuple>& tuples,
                            const std::vector<Attribute>& attributes, SchemaHead* head) override {
    WriteLocks locks(tenant);
    locks.add(tuples);
    locks.add(attributes);
    const Fill fill = [&](WriteStatements& statements) {
      statements.write(tuples);
      return statements.write(attributes);
    };
    return transact(tenant, locks, fill, head);
  }

  StatusOr<SnapToken> remove(const std::string& tenant, const TupleFilter& tuples,
                             const AttributeFilter& attributes) override {
    WriteLocks locks(tenant);
    locks.add(tuples);
    locks.add(attributes);
    return transact(tenant, locks, [&](WriteStatements& statements) {
      statements.expire(tuples);
      statements.expire(attributes);
      return ok_status();
    });
  }

  StatusOr<SnapToken> run(const std::string& tenant, const std::vector<BundleStep>& steps) override {
    WriteLocks locks(tenant);
    for (const BundleStep& step : steps) {
      locks.add(step.tuples_write);
      locks.add(step.tuples_delete);
      locks.add(step.attributes_write);
      locks.add(step.attributes_delete);
    }
    return transact(tenant, locks, [&](WriteStatements& statements) {
      for (const BundleStep& step : steps) {
        statements.write(step.tuples_write);
        HG_RETURN_IF_ERROR(statements.write(step.attributes_write));
        statements.expire(step.tuples_delete);
        statements.expire(step.attributes_delete);
      }
      return ok_status();
    });
  }

 private:
  StatusOr<SnapToken> transact(const std::string& tenant, const WriteLocks& locks, const Fill& fill,
                               SchemaHead* head = nullptr) {
    std::optional<Backoff> backoff;  // most writes need none, and seeding one asks the kernel
    for (int retry = 0;; ++retry) {
      Attempt attempt;
      const Status status = attempt_once(tenant, locks, fill, head, attempt);
      if (status.ok()) return attempt.token;
      if (head != nullptr && head->moved) return status;
      if (attempt.in_doubt) {
        HG_ASSIGN_OR_RETURN(const bool committed, outcome_of(attempt));
        if (committed) return attempt.token;
      }
      // A connection that broke after it was found has changed nothing by now; one that cannot be had is a failure.
      const bool again = status.code() == StatusCode::kAborted ||
                         (status.code() == StatusCode::kUnavailable && attempt.sent) || attempt.in_doubt;
      if (!again) return client_error(status, base::v1::ERROR_CODE_DATASTORE);
      if (retry >= settings_.retries_max) {
        log_warn("write_gave_up", {{"tenant", tenant}, {"attempts", retry + 1}, {"reason", describe(status)}});
        return api_error(base::v1::ERROR_CODE_ERROR_MAX_RETRIES);
      }
      if (!backoff) backoff.emplace(settings_.retry_pause, random_seed());
      system_clock().sleep(backoff->next(), {});
    }
  }

  Status attempt_once(const std::string& tenant, const WriteLocks& locks, const Fill& fill, SchemaHead* head,
                      Attempt& attempt) {
    return pool_->run(write_setup(), [&](pqxx::connection& connection) {
      pqxx::nontransaction work(connection);
      Status status;
      try {
        status = attempt_on(connection, work, tenant, locks, fill, head, attempt);
      } catch (...) {
        status = status_of_current_exception();
        // The session is gone, and its locks with it.
        if (connection_lost(connection, status)) throw;
        attempt.in_doubt = false;
      }
      // Errors come from the statements or from COMMIT itself, and both mean that nothing was committed.
      if (!status.ok()) work.exec(std::string("ROLLBACK") + kUnlock);
      return status;
    });
  }

  static Status attempt_on(pqxx::connection& connection, pqxx::nontransaction& work, const std::string& tenant,
                           const WriteLocks& locks, const Fill& fill, SchemaHead* head, Attempt& attempt) {
    attempt.sent = true;
    const pqxx::result begun = work.exec(begin_of(connection, tenant, locks, head != nullptr));
    if (head != nullptr && head->expected != begun[0][2].c_str()) {
      head->moved = true;
      return make_status(StatusCode::kFailedPrecondition, "the tenant has another schema by now");
    }
    HG_ASSIGN_OR_RETURN(const PgSnapshot snapshot, parse_pg_snapshot(begun[0][1].c_str()));
    attempt.token = token_of_write(to_xid(begun[0][0]), snapshot);
    attempt.backend = connection.backendpid();
    WriteStatements statements(connection, attempt.token.xid, tenant);
    HG_RETURN_IF_ERROR(fill(statements));
    attempt.in_doubt = true;
    work.exec(statements.with_commit() + kUnlock);
    return ok_status();
  }

  // Asks the database what became of a transaction whose COMMIT got no answer.
  StatusOr<bool> outcome_of(const Attempt& attempt) {
    const MonotonicTime start = system_clock().now();
    while (system_clock().now() < start + settings_.outcome_timeout) {
      std::string state;
      const Status status = pool_->run([&](pqxx::connection& connection) {
        state =
            pqxx::nontransaction(connection)
                .exec_params1("SELECT COALESCE(pg_xact_status($1::xid8), 'unknown')", std::to_string(attempt.token.xid))
                .front()
                .as<std::string>();
        return ok_status();
      });
      if (state == "committed") return true;
      if (state == "aborted") return false;
      // A standby that was promoted before it heard of the transaction calls its xid one of the future.
      if (message_of(status).find("22023") != std::string::npos) return false;
      // Its backend may not have noticed that we are gone, and would hold its locks until it does.
      if (state == "in progress" && system_clock().now() > start + Duration(1'000)) end_backend(attempt);
      system_clock().sleep(Duration(50), {});
    }
    log_error("write_outcome_unknown", {{"xid", attempt.token.xid}});
    return unavailable("the connection to the database broke during COMMIT of xid {}, and its outcome is not known",
                       attempt.token.xid);
  }

  void end_backend(const Attempt& attempt) {
    const Status status = pool_->run([&](pqxx::connection& connection) {
      pqxx::nontransaction(connection)
          .exec_params(
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_xid::text = $2",
              attempt.backend, std::to_string(attempt.token.xid & UINT32_MAX));
      return ok_status();
    });
    if (!status.ok()) log_warn("write_backend_not_ended", {{"reason", describe(status)}});
  }

  const std::shared_ptr<Pool> pool_;
  const DatastoreSettings settings_;
};

}  // namespace

std::unique_ptr<DataWriter> make_postgres_writer(std::shared_ptr<Pool> pool, DatastoreSettings settings) {
  return std::make_unique<PostgresWriter>(std::move(pool), std::move(settings));
}

}  // namespace headgate::engine
