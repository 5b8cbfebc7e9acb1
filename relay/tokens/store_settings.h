// Which token store a relay uses and how; the factory beside it.
#pragma once

#include <memory>
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
StatusOr<std::unique_ptr<TokenStore>> make_token_store(const TokenStoreSettings& settings);

// For one implementation each; make_token_store() is what programs call.
StatusOr<std::unique_ptr<TokenStore>> make_sqlite_store(const std::string& scope, const SqliteStoreSettings& settings);
StatusOr<std::unique_ptr<TokenStore>> make_postgres_store(const std::string& scope,
                                                          const PostgresStoreSettings& settings);
StatusOr<std::unique_ptr<TokenStore>> make_redis_store(const std::string& scope, const RedisStoreSettings& settings);

}  // namespace headgate::relay
