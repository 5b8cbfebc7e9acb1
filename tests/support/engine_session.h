// Plain SQL in the shape of the engine's write transactions, for tests that need to hold several of them open at once.
// Not thread-safe; one session is one connection.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <pqxx/pqxx>
#include <string>

namespace headgate::testing {

class EngineSession {
 public:
  explicit EngineSession(const std::string& uri) : connection_(uri) {}

  void run(const std::string& sql) {
    require_open();
    pqxx::nontransaction work(connection_);
    work.exec(sql);
  }
  std::string value(const std::string& sql) {
    require_open();
    pqxx::nontransaction work(connection_);
    const pqxx::result rows = work.exec(sql);
    return rows.empty() || rows[0][0].is_null() ? "" : rows[0][0].c_str();
  }

  // Starts a transaction as the writer does: isolation level, then the transactions row as the first statement.
  uint64_t begin(const std::string& tenant) {
    run("BEGIN ISOLATION LEVEL SERIALIZABLE");
    xid_ = std::strtoull(value("INSERT INTO transactions (tenant_id) VALUES ('" + tenant + "') RETURNING id").c_str(),
                         nullptr, 10);
    tenant_ = tenant;
    return xid_;
  }
  // doc:<entity>#owner@user:<subject>
  void add(const std::string& entity, const std::string& subject = "u") {
    run("INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id, subject_relation,"
        " created_tx_id, tenant_id) VALUES ('doc', '" +
        entity + "', 'owner', 'user', '" + subject + "', '', pg_current_xact_id(), '" + tenant_ + "')");
  }
  void remove(const std::string& entity) {
    run("UPDATE relation_tuples SET expired_tx_id = pg_current_xact_id() WHERE tenant_id = '" + tenant_ +
        "' AND entity_id = '" + entity + "' AND expired_tx_id = '9223372036854775807'::xid8");
  }
  void set(const std::string& entity, const std::string& attribute, const std::string& json) {
    run("UPDATE attributes SET expired_tx_id = pg_current_xact_id() WHERE tenant_id = '" + tenant_ +
        "' AND entity_id = '" + entity + "' AND attribute = '" + attribute +
        "' AND expired_tx_id = '9223372036854775807'::xid8");
    run("INSERT INTO attributes (entity_type, entity_id, attribute, value, created_tx_id, tenant_id) VALUES ('doc', '" +
        entity + "', '" + attribute + "', '" + json + "', pg_current_xact_id(), '" + tenant_ + "')");
  }
  void add_many(int count, const std::string& prefix = "d") {
    run("INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id, subject_relation,"
        " created_tx_id, tenant_id) SELECT 'doc', '" +
        prefix +
        "' || g, 'owner', 'user', 'u', '',"
        " pg_current_xact_id(), '" +
        tenant_ + "' FROM generate_series(1, " + std::to_string(count) + ") g");
  }
  // What a collector with a very short window does to one tenant: only its newest transaction stays.
  void collect(const std::string& tenant) {
    run("INSERT INTO headgate.gc_floors AS f (tenant_id, floor) SELECT tenant_id, id FROM transactions"
        " WHERE tenant_id = '" +
        tenant + "' ORDER BY id DESC LIMIT 1 ON CONFLICT (tenant_id) DO UPDATE SET floor = excluded.floor");
    run("DELETE FROM transactions t USING headgate.gc_floors f WHERE t.tenant_id = '" + tenant +
        "' AND f.tenant_id = t.tenant_id AND t.id < f.floor");
  }
  void commit() { run("COMMIT"); }
  void rollback() { run("ROLLBACK"); }
  // begin, add, commit.
  uint64_t write(const std::string& tenant, const std::string& entity) {
    begin(tenant);
    add(entity);
    commit();
    return xid_;
  }
  // A transaction of somebody else: it has an xid and no engine row.
  uint64_t begin_foreign() {
    run("BEGIN");
    return std::strtoull(value("SELECT pg_current_xact_id()").c_str(), nullptr, 10);
  }
  // The token the writer returns for the current transaction, as the text of its two parts.
  std::string snapshot() { return value("SELECT snapshot FROM transactions WHERE id = pg_current_xact_id()"); }

 private:
  // libpqxx would connect again and go on in the middle of a transaction that is gone.
  void require_open() const {
    if (!connection_.is_open()) throw pqxx::broken_connection("the session has lost its connection");
  }

  pqxx::connection connection_;
  std::string tenant_;
  uint64_t xid_ = 0;
};

}  // namespace headgate::testing
