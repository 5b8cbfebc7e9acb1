#include <future>

#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/storage/postgres_stores.h"
#include "engine/storage/row_pages.h"
#include "engine/storage/sql.h"
#include "engine/storage/write_lane.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::AttributeFilter;
using base::v1::Tuple;
using base::v1::TupleFilter;

// Writers of the tenant wait meanwhile.
constexpr Duration kLongLock{1'000};

size_t bytes_of(const std::vector<Tuple>& tuples, const std::vector<Attribute>& attributes) {
  size_t bytes = 0;
  for (const Tuple& tuple : tuples) bytes += tuple.ByteSizeLong();
  for (const Attribute& attribute : attributes) bytes += attribute.ByteSizeLong();
  return bytes;
}

class PostgresWriter : public DataWriter {
 public:
  PostgresWriter(std::shared_ptr<Pool> pool, DatastoreSettings settings)
      : pool_(std::move(pool)), settings_(std::move(settings)), lane_(pool_, settings_.lane) {}

  std::shared_ptr<PendingWrite> begin(DataWrite write, Attempted attempted) override {
    // Whoever waits for it has been counted where he comes from.
    const size_t bytes = attempted ? bytes_of(write.tuples, write.attributes) : 0;
    const auto pending = std::make_shared<Pending>(*this, order_of(std::move(write)));
    const auto on_attempt = [pending, attempted = std::move(attempted)](WriteAttempt attempt) {
      pending->settle(std::move(attempt));
      if (attempted) attempted(pending);
    };
    return lane_.submit(pending->order(), bytes, on_attempt) ? pending : nullptr;
  }

  StatusOr<SnapToken> remove(const std::string& tenant, const TupleFilter& tuples,
                             const AttributeFilter& attributes) override {
    WriteLocks locks(tenant);
    locks.add(tuples);
    locks.add(attributes);
    if (locks.exclusive()) HG_RETURN_IF_ERROR(check_deletion(tenant, tuples, attributes));
    const MonotonicTime begin = system_clock().now();
    const StatusOr<SnapToken> token = transact(order_of(tenant, locks, [&](WriteStatements& statements) {
      statements.expire(tuples);
      statements.expire(attributes);
      return ok_status();
    }));
    const std::chrono::duration<double> took = system_clock().now() - begin;
    if (took > kLongLock) {
      log_warn("tenant_locked_for_long", {{"tenant", tenant}, {"by", "a deletion"}, {"seconds", took.count()}});
    }
    return token;
  }

  StatusOr<SnapToken> run(const std::string& tenant, const std::vector<BundleStep>& steps) override {
    WriteLocks locks(tenant);
    for (const BundleStep& step : steps) {
      locks.add(step.tuples_write);
      locks.add(step.tuples_delete);
      locks.add(step.attributes_write);
      locks.add(step.attributes_delete);
    }
    return transact(order_of(tenant, locks, [&](WriteStatements& statements) {
      for (const BundleStep& step : steps) {
        statements.write(step.tuples_write);
        HG_RETURN_IF_ERROR(statements.write(step.attributes_write));
        statements.expire(step.tuples_delete);
        statements.expire(step.attributes_delete);
      }
      return ok_status();
    }));
  }

  WriterLoad load() const override { return {lane_.waiting(), lane_.running()}; }

 private:
  // A deletion holds its tenant's lock for as long as it takes, so one that cannot end in time does not begin.
  Status check_deletion(const std::string& tenant, const TupleFilter& tuples, const AttributeFilter& attributes) {
    const size_t max = settings_.deletion_rows_max;
    uint64_t rows = 0;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      rows = 0;
      const Quote quote = [&](const std::string& text) { return connection.quote(text); };
      pqxx::nontransaction work(connection);
      for (const std::string& ids : {active_ids(quote, tenant, tuples), active_ids(quote, tenant, attributes)}) {
        if (ids.empty()) continue;
        rows += number(work.exec1(fmt::format("SELECT count(*) FROM ({} LIMIT {}) AS found", ids, max + 1))[0]);
      }
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_DATASTORE);
    if (rows <= max) return ok_status();
    return api_error(base::v1::ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED,
                     fmt::format("the filter matches more than {} rows (database.max_data_per_delete); nothing was "
                                 "deleted. Delete in steps, by entity type, entity ids or relation",
                                 max));
  }

  using Order = std::shared_ptr<const WriteOrder>;
  using Fill = std::function<Status(WriteStatements&)>;

  static Order order_of(const std::string& tenant, const WriteLocks& locks, Fill fill) {
    return std::make_shared<WriteOrder>(WriteOrder{tenant, locks.statement(), std::nullopt, std::move(fill), {}});
  }

  static Order order_of(DataWrite write) {
    WriteLocks locks(write.tenant);
    locks.add(write.tuples);
    locks.add(write.attributes);
    const auto order = std::make_shared<WriteOrder>(
        WriteOrder{write.tenant, locks.statement(), std::move(write.head), {}, std::move(write.wanted)});
    order->fill = [tuples = std::move(write.tuples),
                   attributes = std::move(write.attributes)](WriteStatements& statements) {
      statements.write(tuples);
      return statements.write(attributes);
    };
    return order;
  }

  class Pending : public PendingWrite {
   public:
    Pending(PostgresWriter& writer, Order order) : writer_(writer), order_(std::move(order)) {}

    const Order& order() const { return order_; }
    void settle(WriteAttempt attempt) {
      blocks_ = !attempt.status.ok() && !attempt.unwanted;
      attempt_.set_value(std::move(attempt));
    }
    bool blocks() const override { return blocks_; }
    WriteOutcome get() override { return writer_.finish(order_, attempt_.get_future().get()); }

   private:
    PostgresWriter& writer_;
    const Order order_;
    std::promise<WriteAttempt> attempt_;
    std::atomic<bool> blocks_{true};
  };

  StatusOr<SnapToken> transact(const Order& order) { return finish(order, attempt_once(order)).token; }

  // From what became of the first attempt.
  WriteOutcome finish(const Order& order, WriteAttempt attempt) {
    std::optional<Backoff> backoff;  // most writes need none, and seeding one asks the kernel
    for (int retry = 0;; ++retry) {
      const Status status = attempt.status;
      if (status.ok()) return {attempt.token};
      if (attempt.unwanted || attempt.head_moved) return {status, attempt.head_moved};
      if (attempt.in_doubt) {
        const StatusOr<bool> committed = outcome_of(attempt);
        if (!committed.ok()) return {committed.status()};
        if (*committed) return {attempt.token};
      }
      // A connection that broke after it was found has changed nothing by now; one that cannot be had is a failure.
      const bool again = status.code() == StatusCode::kAborted ||
                         (status.code() == StatusCode::kUnavailable && attempt.sent) || attempt.in_doubt;
      if (!again) return {client_error(status, base::v1::ERROR_CODE_DATASTORE)};
      if (retry >= settings_.retries_max) {
        log_warn("write_gave_up", {{"tenant", order->tenant}, {"attempts", retry + 1}, {"reason", describe(status)}});
        return {api_error(base::v1::ERROR_CODE_ERROR_MAX_RETRIES)};
      }
      if (!backoff) backoff.emplace(settings_.retry_pause, random_seed());
      system_clock().sleep(backoff->next(), {});
      attempt = attempt_once(order);
    }
  }

  WriteAttempt attempt_once(const Order& order) {
    std::promise<WriteAttempt> ended;
    const bool accepted =
        lane_.submit(order, 0, [&ended](WriteAttempt attempt) { ended.set_value(std::move(attempt)); });
    if (accepted) return ended.get_future().get();
    WriteAttempt refused;
    refused.status = make_status(StatusCode::kResourceExhausted, kTooManyWrites);
    return refused;
  }

  // Asks the database what became of a transaction whose COMMIT got no answer.
  StatusOr<bool> outcome_of(const WriteAttempt& attempt) {
    const MonotonicTime start = system_clock().now();
    while (system_clock().now() < start + settings_.outcome_timeout) {
      std::string state;
      const Status status = pool_->run([&](pqxx::connection_base& connection) {
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

  void end_backend(const WriteAttempt& attempt) {
    const Status status = pool_->run([&](pqxx::connection_base& connection) {
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
  WriteLane lane_;
};

}  // namespace

std::unique_ptr<DataWriter> make_postgres_writer(std::shared_ptr<Pool> pool, DatastoreSettings settings) {
  return std::make_unique<PostgresWriter>(std::move(pool), std::move(settings));
}

}  // namespace headgate::engine
