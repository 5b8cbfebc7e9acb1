// Reads pages of transactions with their changes: index ranges only, a fixed number of statements per page.
#pragma once

#include <pqxx/pqxx>
#include <set>
#include <span>
#include <string>

#include "engine/storage/history.h"

namespace headgate::engine {

// All statements of a page see one state of the database, so a transaction is never seen without its changes.
// Not thread-safe; borrows a connection. Throws what libpqxx throws.
class PageReader {
 public:
  explicit PageReader(pqxx::connection_base& connection) : connection_(connection) {}
  // False, the default, when the database has no table of floors.
  void has_floors(bool has_floors) { has_floors_ = has_floors; }
  // Whether life events are read. The table may appear while the connection is open: it is looked for until it is
  // there.
  bool has_lives(pqxx::transaction_base& work);
  StatusOr<HistoryPage> read(XidRange range, std::span<const std::string> tenants, PageLimit limit);

  // One statement, hence one state: the snapshot it ran in, and all transactions from `from` up to what had ended below
  // everything in progress then, foreign transactions included.
  struct Tail {
    std::string snapshot;
    bool in_recovery = false;
    bool has_lives = false;
    uint64_t highest_floor = 0;  // as in HistoryPage
    bool complete = false;       // false: too much for one answer, `transactions` is empty
    std::vector<HistoryTransaction> transactions;
  };
  StatusOr<Tail> read_tail(uint64_t from);

 private:
  struct Scan {
    std::vector<HistoryTransaction> transactions;
    uint64_t next = 0;
    uint64_t highest_floor = 0;
  };
  // At most `rows_max` rows of `transactions`; `next` tells how far they reach.
  Scan scan(pqxx::transaction_base& work, XidRange range, std::span<const std::string> tenants, size_t rows_max);
  pqxx::result scan_rows(pqxx::transaction_base& work, XidRange range, std::span<const std::string> tenants,
                         size_t rows_max);
  uint64_t highest_floor(pqxx::transaction_base& work, const pqxx::result& rows,
                         std::span<const std::string> tenants) const;
  static Tail tail_of(const pqxx::result& rows);
  // Fills in the changes. False when there are more than `rows_max`, or too many bytes of them, and nothing is filled
  // in; with 0 there are never too many.
  bool add_changes(pqxx::transaction_base& work, std::vector<HistoryTransaction>& transactions, size_t rows_max);

  pqxx::connection_base& connection_;
  bool has_floors_ = false;
  bool has_lives_ = false;
  bool tail_prepared_ = false;
  // How many transactions a page takes; follows the number of changes a transaction has had lately.
  size_t rows_per_page_ = 256;
  bool grows_ = true;  // the last page was small in bytes, too
};

}  // namespace headgate::engine
