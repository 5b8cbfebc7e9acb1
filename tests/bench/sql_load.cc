#include "tests/bench/sql_load.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>

#include "tests/bench/shared.h"

namespace headgate::bench {
namespace {

using std::chrono::nanoseconds;

constexpr char kPrepare[] =
    "PREPARE load_begin (varchar) AS INSERT INTO transactions (tenant_id) VALUES ($1);"
    "PREPARE load_tuple (varchar, varchar, varchar) AS INSERT INTO relation_tuples (entity_type, entity_id, relation,"
    " subject_type, subject_id, subject_relation, tenant_id) VALUES ('doc', $2, 'owner', 'user', $3, '', $1)";

struct Finish {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Connection = std::unique_ptr<PGconn, Finish>;

[[noreturn]] void fail(PGconn* connection) {
  throw std::runtime_error(fmt::format("the load failed: {}", PQerrorMessage(connection)));
}

Connection connect(const std::string& uri) {
  Connection connection(PQconnectdb(uri.c_str()));
  PGresult* result = PQexec(connection.get(), kPrepare);
  const bool prepared = PQresultStatus(result) == PGRES_COMMAND_OK;
  PQclear(result);
  if (!prepared) fail(connection.get());
  return connection;
}

class Loader {
 public:
  explicit Loader(const SqlLoad& load) : load_(load) {
    for (int i = 0; i < load.connections; ++i) {
      connections_.push_back(connect(load.database));
      idle_.push_back(connections_.back().get());
    }
  }

  LoadResult run() {
    const double cpu_before = thread_cpu_seconds();
    begin_ = Clock::now();
    while (done_ < load_.transactions) {
      send_due();
      wait();
    }
    const std::chrono::duration<double> took = Clock::now() - begin_;
    return {(thread_cpu_seconds() - cpu_before) / took.count(), lag_ms_max_};
  }

 private:
  Clock::time_point due(size_t number) const {
    return begin_ + std::chrono::duration_cast<nanoseconds>(
                        std::chrono::duration<double>(static_cast<double>(number) / load_.rate));
  }

  void send_due() {
    const auto now = Clock::now();
    while (!idle_.empty() && sent_ < load_.transactions && due(sent_) <= now) {
      PGconn* connection = idle_.back();
      idle_.pop_back();
      const std::string& tenant = load_.tenants[sent_ % load_.tenants.size()];
      const std::string sql = fmt::format(
          "BEGIN ISOLATION LEVEL SERIALIZABLE;EXECUTE load_begin('{0}');EXECUTE "
          "load_tuple('{0}','{1}{2}','u{3}');COMMIT",
          tenant, load_.prefix, sent_, sent_ % 1000);
      if (PQsendQuery(connection, sql.c_str()) != 1) fail(connection);
      const std::chrono::duration<double, std::milli> lag = now - due(sent_);
      lag_ms_max_ = std::max(lag_ms_max_, lag.count());
      ++sent_;
    }
  }

  // Until an answer comes or the next transaction is due.
  void wait() {
    std::vector<pollfd> sockets;
    for (const Connection& connection : connections_) sockets.push_back({PQsocket(connection.get()), POLLIN, 0});
    const bool more = sent_ < load_.transactions && !idle_.empty();
    const auto left = std::max(nanoseconds(0), more ? std::chrono::duration_cast<nanoseconds>(due(sent_) - Clock::now())
                                                    : nanoseconds(std::chrono::seconds(1)));
    const timespec timeout{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    if (::ppoll(sockets.data(), sockets.size(), &timeout, nullptr) <= 0) return;
    for (size_t i = 0; i < sockets.size(); ++i) {
      if (sockets[i].revents != 0) take_answer(connections_[i].get());
    }
  }

  void take_answer(PGconn* connection) {
    if (PQconsumeInput(connection) != 1) fail(connection);
    while (PQisBusy(connection) == 0) {
      PGresult* result = PQgetResult(connection);
      if (result == nullptr) {
        idle_.push_back(connection);
        ++done_;
        return;
      }
      const bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
      PQclear(result);
      if (!ok) fail(connection);
    }
  }

  const SqlLoad& load_;
  std::vector<Connection> connections_;
  std::vector<PGconn*> idle_;
  Clock::time_point begin_;
  size_t sent_ = 0;
  size_t done_ = 0;
  double lag_ms_max_ = 0;
};

}  // namespace

LoadResult run_load(const SqlLoad& load) { return Loader(load).run(); }

}  // namespace headgate::bench
