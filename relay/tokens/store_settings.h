// Which token store a relay uses and how; the factory beside it.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/redis/settings.h"
#include "relay/tokens/token_store.h"

namespace headgate::relay {

enum class TokenStoreKind { kSqlite, kPostgres, kRedis, kMemory };

struct SqliteStoreSettings {
  std::string path = "headgate-relay.db";  // a file of its own; the folder must exist
};

struct PostgresStoreSettings {
  std::string uri;  // holds a secret, never logged
  Duration connect_timeout{5'000};
  Duration statement_timeout{10'000};
};

struct RedisStoreSettings {
  redis::ClientSettings connection;
  std::string prefix = "headgate";
};

struct TokenStoreSettings {
  TokenStoreKind kind = TokenStoreKind::kSqlite;
  // The relay's name: cursors of two relays in one store do not mix.
  std::string scope = "default";
  SqliteStoreSettings sqlite;
  PostgresStoreSettings postgres;
  RedisStoreSettings redis;
};

// Opens the store and makes what it needs (file, schema, tables). Errors as in token_store.h; INVALID_ARGUMENT for
// settings that cannot work; FAILED_PRECONDITION when another relay holds the sqlite file.
// `stop`: ends for good whatever the store waits for, now and later, with CANCELLED; not the wait for a local disk.
StatusOr<std::unique_ptr<TokenStore>> make_token_store(const TokenStoreSettings& settings, std::stop_token stop);

// For one implementation each; make_token_store() is what programs call.
StatusOr<std::unique_ptr<TokenStore>> make_sqlite_store(const std::string& scope, const SqliteStoreSettings& settings);
StatusOr<std::unique_ptr<TokenStore>> make_postgres_store(const std::string& scope,
                                                          const PostgresStoreSettings& settings, std::stop_token stop);
// For psql: everything that the first start of a PostgreSQL store would make, and the rights of the role in the uri.
std::string preparation_sql(const PostgresStoreSettings& settings);
StatusOr<std::unique_ptr<TokenStore>> make_redis_store(const std::string& scope, const RedisStoreSettings& settings,
                                                       std::stop_token stop);

}  // namespace headgate::relay
