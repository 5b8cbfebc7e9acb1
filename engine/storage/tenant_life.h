// What happens to tenants as a whole: each event is a row of headgate.tenant_life, written by the transaction that
// causes it, so that streams deliver it in its place among the writes. headgate.tenants_known holds the state that
// these rows add up to; where Permify's tables differ from it, another program was at work.
//
// The order of locks, with which a life event is never overtaken (ops/decisions/0002): the tenant's lock of
// write_locks.h, then begin_life(), then the first statement that needs an xid.
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "engine/storage/history.h"

namespace headgate::engine {

// Where life events are read from; on a database without the table, an empty table of its shape.
std::string life_table(bool exists);
// True when the table is there and the session may read it; of tenants_known, the same.
bool has_life_table(pqxx::transaction_base& work);
bool has_known_table(pqxx::transaction_base& work);

// Makes the transaction visible to the horizon. REQUIRES: it has no xid yet. False when life events cannot be recorded
// here (no table, no right to write it); the caller then goes on without. Throws what libpqxx throws, as all below.
bool begin_life(pqxx::transaction_base& work);

// REQUIRES: begin_life() was true; one event in a transaction, because its xid is the event's place in the order.
void record_created(pqxx::transaction_base& work, const std::string& tenant, bool late = false);
void record_removed(pqxx::transaction_base& work, const std::string& tenant, bool late = false);
void record_schema(pqxx::transaction_base& work, const std::string& tenant, const std::string& version,
                   const std::string& previous, bool late = false);

// Records what another program did to this tenant since the last event, in transactions of its own. True when there was
// something; nothing is recorded while the tenant is locked.
bool record_missed(pqxx::connection_base& connection, const std::string& tenant);

// Compares all tenants, and records what another program did to a bounded number of them.
MissedLives record_missed(pqxx::connection_base& connection);

}  // namespace headgate::engine
