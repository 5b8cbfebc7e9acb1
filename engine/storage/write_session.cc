#include "engine/storage/write_session.h"

#include <array>

#include "base/postgres/errors.h"

namespace headgate::engine {
namespace {

constexpr Duration kConnectGrace{2'000};

void ignore_notice(void*, const PGresult*) {}

std::string text_of(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

StatusOr<std::unique_ptr<WriteSession>> WriteSession::connect(const PoolSettings& settings, SocketWatchdog& watchdog,
                                                              std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(PgHandle handle, connect_libpq(settings.connection(), stop));
  std::unique_ptr<WriteSession> session(new WriteSession(handle.release()));
  PGconn* connection = session->connection_.get();
  PQsetNoticeReceiver(connection, ignore_notice, nullptr);
  const auto watch = watchdog.watch(session->socket(), settings.connect_timeout + kConnectGrace);
  HG_RETURN_IF_ERROR(session->set_up(settings));
  if (PQsetnonblocking(connection, 1) != 0 || PQenterPipelineMode(connection) != 1) {
    return internal_error("libpq refuses its pipeline mode");
  }
  return session;
}

Status WriteSession::set_up(const PoolSettings& settings) {
  const auto timeout = settings.statement_timeout.count();
  // As defaults of the session these cost nothing in each transaction; setting them there took a tenth of its time. A
  // transaction whose client has vanished without a word would hold the feed back for as long as its session lives.
  HG_RETURN_IF_ERROR(exec(
      fmt::format("SET statement_timeout = {0}; SET idle_in_transaction_session_timeout = {0};"
                  "SET default_transaction_isolation = serializable; SET default_transaction_read_only = off; {1} {2}",
                  timeout, kPinnedPlans, kPrepareWrites)));
  for (const char* statement : {"BEGIN", "COMMIT", "ROLLBACK"}) {
    const Result result(PQprepare(connection_.get(), statement, statement, 0, nullptr));
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) return error_of(result.get());
  }
  return ok_status();
}

Status WriteSession::exec(const std::string& sql) {
  const Result result(PQexec(connection_.get(), sql.c_str()));
  return PQresultStatus(result.get()) == PGRES_COMMAND_OK ? ok_status() : error_of(result.get());
}

// An error without SQLSTATE is libpq's own, of a connection that is gone or of one that no longer makes sense.
Status WriteSession::error_of(const PGresult* result) const {
  const std::string state = text_of(PQresultErrorField(result, PG_DIAG_SQLSTATE));
  if (!state.empty()) return status_of_sqlstate(state, text_of(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));
  return unavailable("the connection to the database broke");
}

void WriteSession::begin(std::shared_ptr<const WriteOrder> order) {
  order_ = std::move(order);
  attempt_ = {};
  attempt_.sent = true;
  attempt_.backend = PQbackendPID(connection_.get());
  committed_ = false;
  busy_since_ = std::chrono::steady_clock::now();
  phase_ = Phase::kBeginning;
  results_to_begin_ = 1;
  if (!order_->lock.name.empty()) {
    // Without these two, the locks' transaction would have to end with a synchronisation of the pipeline: one more
    // packet there, one back, and one more time that both sides wake up.
    send({"BEGIN", {}, {}});
    send(order_->lock);
    send({"COMMIT", {}, {}});
    ++results_to_begin_;
  }
  send({"BEGIN", {}, {}});
  send({order_->head ? "headgate_begin_at_head" : "headgate_begin", {order_->tenant}, {}});
  end_phase();
}

void WriteSession::send(const Statement& statement) {
  PGconn* connection = connection_.get();
  if (statement.name.empty()) {
    queued_ &= PQsendQueryParams(connection, statement.sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 1;
    return;
  }
  std::array<const char*, 8> values{};
  const size_t count = statement.parameters.size();
  HG_CHECK(count <= values.size());
  for (size_t i = 0; i < count; ++i) values[i] = statement.parameters[i].c_str();
  queued_ &= PQsendQueryPrepared(connection, statement.name.c_str(), static_cast<int>(count), values.data(), nullptr,
                                 nullptr, 0) == 1;
}

// The server skips what follows an error up to here.
void WriteSession::end_phase() {
  queued_ &= PQpipelineSync(connection_.get()) == 1;
  flush();
}

void WriteSession::flush() {
  const int left = PQflush(connection_.get());
  sending_ = left == 1;
  if (left < 0 || !queued_) lose(unavailable("the connection to the database broke"));
}

bool WriteSession::advance() {
  PGconn* connection = connection_.get();
  if (sending_) flush();
  const bool open = usable() && PQconsumeInput(connection) == 1;
  while (usable() && !idle() && !PQisBusy(connection)) {
    // Each statement ends with an empty result; a broken connection has nothing else.
    if (const Result result(PQgetResult(connection)); result != nullptr) {
      on_result(*result);
    } else if (!open || PQstatus(connection) != CONNECTION_OK) {
      break;
    }
  }
  // An idle session has nothing to say.
  if (usable() && (!open || PQstatus(connection) != CONNECTION_OK)) lose(unavailable("the connection broke"));
  return idle() || !usable();
}

void WriteSession::on_result(const PGresult& result) {
  switch (PQresultStatus(&result)) {
    case PGRES_PIPELINE_SYNC: next_phase(); return;
    case PGRES_TUPLES_OK:
      if (phase_ == Phase::kBeginning && --results_to_begin_ == 0) on_begun(result);
      return;
    case PGRES_COMMAND_OK:
      if (phase_ == Phase::kCommitting)
        committed_ |= std::string_view(PQcmdStatus(const_cast<PGresult*>(&result))) == "COMMIT";
      return;
    case PGRES_PIPELINE_ABORTED: return;
    default: return on_error(result);
  }
}

void WriteSession::on_error(const PGresult& result) {
  const Status status = error_of(&result);
  // Ended by the server's end of the connection rather than by the statement; says nothing about the commit.
  if (status.code() == StatusCode::kUnavailable) return lose(status);
  if (attempt_.status.ok()) attempt_.status = status;
  if (phase_ == Phase::kRollingBack) lose(status);
}

void WriteSession::on_begun(const PGresult& row) {
  if (PQntuples(&row) != 1) return;
  if (order_->head && *order_->head != PQgetvalue(&row, 0, 2)) {
    attempt_.head_moved = true;
    attempt_.status = make_status(StatusCode::kFailedPrecondition, "the tenant has another schema by now");
    return;
  }
  const StatusOr<PgSnapshot> snapshot = parse_pg_snapshot(PQgetvalue(&row, 0, 1));
  if (!snapshot.ok()) {
    attempt_.status = snapshot.status();
    return;
  }
  attempt_.token = token_of_write(std::stoull(PQgetvalue(&row, 0, 0)), *snapshot);
}

void WriteSession::next_phase() {
  switch (phase_) {
    case Phase::kBeginning:
      if (!attempt_.status.ok()) return roll_back();
      if (const Status status = send_data(); !status.ok()) {
        attempt_.status = status;
        roll_back();
      }
      return;
    case Phase::kCommitting:
      // What went wrong after the commit concerns the session alone, which still has its locks.
      if (committed_ && !attempt_.status.ok()) return lose(attempt_.status);
      attempt_.in_doubt = false;
      if (committed_)
        phase_ = Phase::kIdle;
      else
        roll_back();
      return;
    default: phase_ = Phase::kIdle;
  }
}

Status WriteSession::send_data() {
  const Quote quote = [this](const std::string& text) {
    std::unique_ptr<char, decltype(&PQfreemem)> literal(PQescapeLiteral(connection_.get(), text.data(), text.size()),
                                                        PQfreemem);
    return text_of(literal.get());
  };
  WriteStatements statements(quote, attempt_.token.xid, order_->tenant);
  HG_RETURN_IF_ERROR(order_->fill(statements));
  for (const Statement& statement : statements.all()) send(statement);
  send({"COMMIT", {}, {}});
  send({"headgate_unlock", {}, {}});
  phase_ = Phase::kCommitting;
  attempt_.in_doubt = true;
  end_phase();
  return ok_status();
}

void WriteSession::roll_back() {
  phase_ = Phase::kRollingBack;
  send({"ROLLBACK", {}, {}});
  send({"headgate_unlock", {}, {}});
  end_phase();
}

void WriteSession::lose(const Status& status) {
  if (committed_)
    attempt_.status = ok_status();
  else if (phase_ != Phase::kRollingBack || attempt_.status.ok())
    attempt_.status = status;
  if (committed_) attempt_.in_doubt = false;
  phase_ = Phase::kLost;
}

}  // namespace headgate::engine
