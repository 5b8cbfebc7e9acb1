#include "tests/bench/backlog.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <chrono>
#include <cstdlib>
#include <pqxx/pqxx>
#include <stdexcept>

namespace headgate::bench {

std::vector<std::string> backlog_tenants() { return {"bulk0", "bulk1", "bulk2", "bulk3"}; }

void write_backlog(const std::string& uri, size_t first, size_t last) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  work.exec("SET synchronous_commit = off");
  work.exec(fmt::format(
      "DO $$ BEGIN FOR i IN {}..{} LOOP"
      " INSERT INTO transactions (tenant_id) VALUES ('bulk' || i % 4);"
      " INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id, subject_relation,"
      " tenant_id) VALUES ('doc', 'd' || i, 'owner', 'user', 'u' || i % 1000, '', 'bulk' || i % 4);"
      " COMMIT; END LOOP; END $$",
      first, last));
  work.exec("VACUUM ANALYZE transactions");
  work.exec("VACUUM ANALYZE relation_tuples");
}

double bare_read_rate(const std::string& uri, size_t expected) {
  PGconn* connection = PQconnectdb(uri.c_str());
  const auto begin = std::chrono::steady_clock::now();
  PQsendQueryParams(connection,
                    "SELECT t.id, t.tenant_id, t.\"timestamp\", r.entity_type, r.entity_id, r.relation, r.subject_type,"
                    " r.subject_id, r.subject_relation FROM transactions t JOIN relation_tuples r"
                    " ON r.tenant_id = t.tenant_id AND r.created_tx_id = t.id ORDER BY t.id",
                    0, nullptr, nullptr, nullptr, nullptr, 1);
  PQsetSingleRowMode(connection);
  size_t rows = 0;
  while (PGresult* result = PQgetResult(connection)) {
    rows += PQresultStatus(result) == PGRES_SINGLE_TUPLE ? 1 : 0;
    PQclear(result);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const std::string error = PQerrorMessage(connection);
  PQfinish(connection);
  if (rows != expected) throw std::runtime_error(fmt::format("{} rows instead of {}: {}", rows, expected, error));
  return static_cast<double>(rows) / took.count();
}

void reset_statements(const std::string& uri) {
  pqxx::connection connection(uri);
  pqxx::nontransaction(connection).exec("SELECT pg_stat_statements_reset()");
}

StatementCost statement_cost(const std::string& uri) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  const pqxx::row row = work.exec1(
      "SELECT coalesce(sum(total_exec_time + total_plan_time), 0), coalesce(sum(calls), 0) FROM pg_stat_statements"
      " WHERE query NOT LIKE '%pg_stat_statements%'");
  return {row[0].as<double>(), row[1].as<uint64_t>()};
}

std::vector<std::pair<uint64_t, int64_t>> commit_times(const std::string& uri) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  std::vector<std::pair<uint64_t, int64_t>> times;
  for (const pqxx::row& row :
       work.exec("SELECT id::text, (extract(epoch FROM pg_xact_commit_timestamp(id::xid)) * 1000000)::bigint::text"
                 " FROM transactions")) {
    times.emplace_back(std::stoull(row[0].c_str()), std::stoll(row[1].c_str()));
  }
  return times;
}

}  // namespace headgate::bench
