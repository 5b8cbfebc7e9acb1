// Write transactions a second through the engine's gRPC API against pgbench that sends the engine's own statements over
// as many connections to the same server, in turns, with and without waiting for the disk at each commit.
#include <fmt/format.h>
#include <unistd.h>

#include <pqxx/pqxx>

#include "tests/bench/api_load.h"
#include "tests/bench/shared.h"
#include "tests/support/process.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;

constexpr int kConnections = 8;
constexpr double kWriteSeconds = 5;
const std::vector<std::string> kWriteTenants = {"w1", "w2", "w3", "w4"};

// What the engine sends for one new tuple, in its two round trips and with its session's settings: locks of the key,
// begin; data, commit, unlock. pgbench sends it as text: in a pipeline it cannot use the row that begins.
constexpr char kSameStatements[] = R"(\if :ready = 0
SET default_transaction_isolation = serializable;
PREPARE lock_key (bigint, bigint) AS SELECT pg_advisory_lock_shared($1), pg_advisory_lock($2);
PREPARE unlock AS SELECT pg_advisory_unlock_all();
PREPARE begin_write (varchar) AS INSERT INTO transactions (tenant_id) VALUES ($1) RETURNING id, snapshot, (SELECT version FROM schema_definitions WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1);
PREPARE tuple_write (xid8, varchar, varchar, varchar, varchar, varchar, varchar, varchar) AS INSERT INTO relation_tuples (tenant_id, created_tx_id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation) VALUES ($2, $1, $3, $4, $5, $6, $7, $8) ON CONFLICT ON CONSTRAINT uq_relation_tuple_not_expired DO NOTHING;
\set ready 1
\endif
\set n :n + 1
\set key random(1, 9000000000000000000)
BEGIN\;EXECUTE lock_key (7, :key)\;COMMIT\;BEGIN\;EXECUTE begin_write ('w1') \gset
EXECUTE tuple_write (':id', 'w1', 'doc', ':prefix-:client_id-:n', 'owner', 'user', 'u:key', '')\;COMMIT\;EXECUTE unlock;
)";

// The least that keeps one tuple and its transaction.
constexpr char kBareWrite[] = R"(\if :ready = 0
SET default_transaction_isolation = serializable;
PREPARE begin_write (varchar) AS INSERT INTO transactions (tenant_id) VALUES ($1) RETURNING id, snapshot;
PREPARE tuple_write (varchar, varchar, varchar) AS INSERT INTO relation_tuples (tenant_id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation) VALUES ($1, 'doc', $2, 'owner', 'user', $3, '');
\set ready 1
\endif
\set n :n + 1
\set key random(1, 9000000000000000000)
BEGIN\;EXECUTE begin_write ('w1') \gset
EXECUTE tuple_write ('w1', ':prefix-:client_id-:n', 'u:key')\;COMMIT;
)";

// What turns of one kind came to.
struct Turns {
  double transactions = 0;
  double seconds = 0;
  double postgres = 0, engine = 0, client = 0;  // processor seconds

  double rate() const { return transactions / seconds; }
  double microseconds(double cpu) const { return cpu * 1e6 / transactions; }
  double microseconds() const { return microseconds(postgres + engine + client); }
};

// Adds what is used from construction to destruction; `engine` may be null.
class Meter {
 public:
  Meter(Turns& turns, const PostgresServer& server, World* world)
      : turns_(turns), server_(server), world_(world), before_(read()) {}
  ~Meter() {
    const Turns after = read();
    turns_.postgres += after.postgres - before_.postgres;
    turns_.engine += after.engine - before_.engine;
    turns_.client += after.client - before_.client;
  }

 private:
  Turns read() const {
    return {.postgres = cpu_seconds_with_children(server_.pid()),
            .engine = world_ == nullptr ? 0 : cpu_seconds(world_->engine().pid()),
            .client = world_ == nullptr ? reaped_cpu_seconds() : cpu_seconds(::getpid())};
  }

  Turns& turns_;
  const PostgresServer& server_;
  World* const world_;
  const Turns before_;
};

void pgbench(const PostgresServer& server, const std::string& folder, const std::string& uri, const char* script,
             const std::string& prefix, Turns& turns) {
  const std::string file = folder + "/" + prefix + ".sql";
  write_file(file, script);
  const std::string log = folder + "/" + prefix + ".log";
  const Meter meter(turns, server, nullptr);
  Process program({.argv = {postgres_binaries() + "/pgbench", "-n", "-M", "simple", "-c", std::to_string(kConnections),
                            "-j", "2", "-T", fmt::format("{:.0f}", kWriteSeconds), "-D", "ready=0", "-D", "n=0", "-D",
                            "prefix=" + prefix, "-f", file, uri},
                   .log_file = log});
  const bool ended = program.wait(std::chrono::seconds(60)) && program.exit_code() == 0;
  const std::string output = read_file(log);
  const std::string done = "number of transactions actually processed: ";
  const size_t place = output.find(done), rate = output.find("\ntps = ");
  REQUIRE_MESSAGE((ended && place != std::string::npos && rate != std::string::npos), output);
  CHECK_MESSAGE(output.find("number of failed transactions: 0 ") != std::string::npos, output);
  const double transactions = std::stod(output.substr(place + done.size()));
  turns.transactions += transactions;
  turns.seconds += transactions / std::stod(output.substr(rate + 7));
}

size_t transactions_in(const std::string& uri) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  return work.exec1("SELECT count(*) FROM transactions")[0].as<size_t>();
}

void write_through(World& world, const PostgresServer& server, const std::string& prefix, Turns& turns) {
  const size_t before = transactions_in(world.database_uri());
  ApiResult result;
  {
    const Meter meter(turns, server, &world);
    result = run_load(ApiLoad{.engine = world.engine().address(),
                              .tenants = kWriteTenants,
                              .seconds = kWriteSeconds,
                              .calls_in_flight_max = kConnections,
                              .prefix = prefix});
  }
  CHECK(transactions_in(world.database_uri()) - before == result.acknowledged);
  turns.transactions += static_cast<double>(result.acknowledged);
  turns.seconds += result.seconds;
}

void add_row(const std::string& what, const Turns& engine, const Turns& limit, const std::string& against) {
  table().add(
      {what, per_second(engine.rate()), per_second(limit.rate()) + " " + against, ratio(engine.rate(), limit.rate()),
       fmt::format(
           "budget: at least 0.8; {} connections, turns of {:.0f} s on one server with fsync, one tuple a "
           "transaction, every acknowledged transaction counted in the database; processor time of one: "
           "PostgreSQL {:.0f} us, engine {:.0f} us, client {:.0f} us, with pgbench {:.0f} us and {:.0f} us: {:.2f}",
           kConnections, kWriteSeconds, engine.microseconds(engine.postgres), engine.microseconds(engine.engine),
           engine.microseconds(engine.client), limit.microseconds(limit.postgres), limit.microseconds(limit.client),
           limit.microseconds() / engine.microseconds())});
}

std::string make_database(const PostgresServer& server, const std::string& name, const std::string& commit) {
  pqxx::connection connection(server.uri());
  pqxx::nontransaction work(connection);
  work.exec("CREATE DATABASE " + name);
  work.exec("ALTER DATABASE " + name + " SET synchronous_commit = " + commit);
  return server.uri(name);
}

// Starts the engine with as many connections for calls as pgbench gets; the other roles need some of their own.
std::unique_ptr<World> make_world(const std::string& uri, bool all_roles) {
  const std::string yaml = fmt::format("  max_connections: {}\nroles: [{}]\n", kConnections + (all_roles ? 7 : 1),
                                       all_roles ? "write, check, watch" : "write");
  // Continues the section of the database, which comes last.
  auto world = World::create({.sinks = {}, .engine_yaml = yaml, .database_uri = uri, .subscribe = {}});
  if (world != nullptr) world->create_tenants(kWriteTenants);
  return world;
}

// Two turns each, one after the other, so that a noisy moment does not decide.
void measure_writes(const PostgresServer& server, const std::string& commit, bool all_roles) {
  const TempFolder folder("headgate-pgbench");
  const std::string uri = make_database(server, "writes_" + commit + (all_roles ? "_all" : ""), commit);
  const auto world = make_world(uri, all_roles);
  if (world == nullptr) return;
  Turns same, bare, engine;
  for (int turn = 0; turn < 2; ++turn) {
    const std::string number = std::to_string(turn);
    pgbench(server, folder.path(), uri, kSameStatements, "same" + number, same);
    write_through(*world, server, "e" + number, engine);
    pgbench(server, folder.path(), uri, kBareWrite, "bare" + number, bare);
  }
  const std::string what = fmt::format("writes through the API, synchronous_commit {}, engine with {}", commit,
                                       all_roles ? "all roles" : "the write role");
  add_row(what, engine, same, "pgbench, the same statements");
  if (!all_roles) add_row(what, engine, bare, "pgbench, without the engine's locks");
  table().save();
}

}  // namespace

TEST_SUITE("bench/write") {
  TEST_CASE("write throughput") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    const TempFolder folder("headgate-bench-writes");
    PostgresServer server(folder.path() + "/postgres", {"fsync=on", "shared_buffers=256MB", "max_wal_size=4GB"});
    server.start();
    measure_writes(server, "off", false);
    measure_writes(server, "on", false);
    measure_writes(server, "off", true);
  }
}
