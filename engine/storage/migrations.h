// Brings a database to the layout that the engine works on: Permify's own tables, and a few additions of ours.
//
// A fresh database gets the tables exactly as Permify 1.7's migrations leave them, together with the rows of its
// `migrations` table, so a Permify that is pointed at it later finds nothing to do. A database of Permify is left as it
// is. In both cases these are added, and nothing else:
//   headgate.migrations    our own version
//   headgate.gc_floors     per tenant the lowest position whose state can still be read: what expired or committed
//                          below may be gone. Written before rows are removed, so that older tokens can be refused
//   headgate.gc_holds      per process and tenant the lowest xid of a token in use, with an end; see engine/gc
//   headgate.incarnations  identities of the database's history, written by the feed
//   headgate.tenant_life   who was created, removed or got another schema, by xid; see tenant_life.h
//   headgate.tenants_known the tenants that are there according to it
//   headgate_relation_tuples_expired, headgate_attributes_expired
//                          indexes on (tenant_id, expired_tx_id) of rows that have expired
//   headgate_relation_tuples_type, _entity, _subject, headgate_attributes_type
//                          indexes that have the rows of one type, entity or subject in the order of their ids
//   headgate_relation_tuples_usersets
//                          index of the subjects of a relation that have a relation of their own
//                          Without the right to make these the engine starts all the same, and pages of much and checks
//                          of large relations cost more
// Indexes on tables that are there already are built CONCURRENTLY.
//
// Safe to run from several processes at the same time and again after it was killed. Blocks until done; building an
// index over a large table can take minutes, so there is no statement time-out.
#pragma once

#include <pqxx/pqxx>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "engine/storage/rights.h"

namespace headgate::engine {

struct MigrationSettings {
  std::string uri;  // as in PoolSettings
  Duration connect_timeout{5'000};
  Duration lock_timeout{15 * 60'000};  // UNAVAILABLE when another process migrates for longer
  Duties duties = {};
};

// FAILED_PRECONDITION, with a text that says what to do: the server is older than 13.8, the tables are those of an
// older Permify (which has to migrate them itself), the rows are ahead of the server's counter of transactions, the
// role may not create what is missing, or lacks a right that it needs later, or the schema headgate belongs to the
// tables of another schema. Only what is missing is created. UNAVAILABLE when the database is away. CANCELLED, soon,
// when stopped.
Status migrate_database(const MigrationSettings& settings, std::stop_token stop);

// The same checks without changing anything, for processes that must not or cannot change the layout.
Status check_database(pqxx::connection_base& connection, const Duties& duties = {});
// By a connection of its own. CANCELLED, soon, when stopped; DEADLINE_EXCEEDED behind somebody's lock.
Status check_database(const MigrationSettings& settings, std::stop_token stop);

}  // namespace headgate::engine
