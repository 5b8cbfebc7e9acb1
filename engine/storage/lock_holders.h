// Reads who holds the lock that every engine transaction takes on `transactions`, and what is known of each.
#pragma once

#include <pqxx/pqxx>

#include "engine/storage/horizon.h"

namespace headgate::engine {

// One statement. Throws what libpqxx throws.
LockHolders read_lock_holders(pqxx::transaction_base& work);

}  // namespace headgate::engine
