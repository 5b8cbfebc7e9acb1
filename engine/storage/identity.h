// Whether transactions that were seen once are still those that the database has. A history is replaced by a crash that
// lost what had not been flushed, by a backup that is put back, by a standby that lagged: xids are then handed out
// again.
#pragma once

#include <pqxx/pqxx>
#include <span>
#include <string>
#include <vector>

#include "engine/storage/history.h"

namespace headgate::engine {

// `lives` is where life events are read from (tenant_life.h), `floors` says whether there is a table of floors. Throw
// what libpqxx throws. xid 0 when nothing lies below `xid`.
TransactionIdentity newest_below(pqxx::transaction_base& work, const std::string& lives, uint64_t xid);
// One statement. True for those that are there as they were, and for those that are gone because a collector took them
// or their tenant was removed. Xids that the server has not come to yet are not there.
std::vector<bool> intact(pqxx::transaction_base& work, const std::string& lives, bool floors,
                         std::span<const TransactionIdentity> seen);

}  // namespace headgate::engine
