// A database with a long history, and the bare cost of reading it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headgate::bench {

// Tenants of the backlog; their transactions alternate.
std::vector<std::string> backlog_tenants();

// Committed transactions number `first` to `last` of one tuple each, in Permify's shape.
void write_backlog(const std::string& uri, size_t first, size_t last);

// Reads all transactions with their tuples once, in xid order, by libpq alone in single-row mode. Rows a second.
double bare_read_rate(const std::string& uri, size_t expected);

// Milliseconds of the server's time and statements since reset_statements(), by pg_stat_statements, without its own.
struct StatementCost {
  double total_ms = 0;
  uint64_t calls = 0;
};
void reset_statements(const std::string& uri);
StatementCost statement_cost(const std::string& uri);

// Microseconds since the epoch at which each transaction committed; needs track_commit_timestamp.
std::vector<std::pair<uint64_t, int64_t>> commit_times(const std::string& uri);

}  // namespace headgate::bench
