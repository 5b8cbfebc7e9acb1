#include "engine/storage/pool.h"

#include "base/log.h"

namespace headgate::engine {

Status status_of_current_exception() {
  try {
    throw;
  } catch (const pqxx::broken_connection& error) {
    return unavailable("the database cannot be reached; check that it runs and that database.uri is right");
  } catch (const pqxx::in_doubt_error&) {
    return unavailable("the connection to the database broke during COMMIT; the outcome is not known");
  } catch (const pqxx::sql_error& error) {
    const std::string state = error.sqlstate();
    const std::string text = fmt::format("SQLSTATE {}: {}", state, error.what());
    if (state == "40001" || state == "23505" || state == "40P01") return make_status(StatusCode::kAborted, text);
    if (state == "57014") return make_status(StatusCode::kDeadlineExceeded, text);
    // 57P0x: the server is shutting down, crashed or not yet ready. 53300: too many connections.
    if (state.rfind("57P", 0) == 0 || state.rfind("08", 0) == 0 || state == "53300") {
      return make_status(StatusCode::kUnavailable, text);
    }
    return make_status(StatusCode::kInternal, text);
  } catch (const std::exception& error) {
    return internal_error("database access failed: {}", error.what());
  }
}

Pool::Pool(PoolSettings settings) : settings_(std::move(settings)) {}

Pool::~Pool() = default;

StatusOr<std::unique_ptr<pqxx::connection>> Pool::connect() {
  try {
    auto connection = std::make_unique<pqxx::connection>(settings_.uri);
    connection->set_variable("statement_timeout", std::to_string(settings_.statement_timeout.count()));
    connection->set_variable("application_name", connection->quote(settings_.application_name));
    if (settings_.prepare) settings_.prepare(*connection);
    return connection;
  } catch (...) {
    return status_of_current_exception();
  }
}

StatusOr<std::unique_ptr<pqxx::connection>> Pool::acquire() {
  {
    std::unique_lock lock(mutex_);
    const bool free = changed_.wait_for(lock, settings_.acquire_timeout,
                                        [&] { return !idle_.empty() || open_ < settings_.connections_max; });
    if (!free) {
      return status_of(StatusCode::kResourceExhausted,
                       "all {} database connections are busy for {} ms; raise database.max_connections",
                       settings_.connections_max, settings_.acquire_timeout.count());
    }
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
    ++open_;
  }
  auto connection = connect();
  if (!connection.ok()) release(nullptr);
  return connection;
}

void Pool::release(std::unique_ptr<pqxx::connection> connection) {
  MutexLock lock(mutex_);
  if (connection != nullptr && connection->is_open()) {
    idle_.push_back(std::move(connection));
  } else {
    --open_;
  }
  changed_.notify_one();
}

Status Pool::run(const std::function<Status(pqxx::connection&)>& work) {
  auto acquired = acquire();
  if (!acquired.ok()) return acquired.status();
  std::unique_ptr<pqxx::connection> connection = std::move(*acquired);
  Status status;
  try {
    status = work(*connection);
  } catch (...) {
    status = status_of_current_exception();
    // A failed session may hold anything; a fresh one costs a millisecond.
    if (status.code() != StatusCode::kAborted) connection.reset();
  }
  release(std::move(connection));
  return status;
}

int Pool::in_use() const {
  MutexLock lock(mutex_);
  return open_ - static_cast<int>(idle_.size());
}

int Pool::open() const {
  MutexLock lock(mutex_);
  return open_;
}

}  // namespace headgate::engine
