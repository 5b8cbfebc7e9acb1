#include "relay/tokens/store_settings.h"

#include "relay/tokens/memory_store.h"

namespace headgate::relay {

StatusOr<std::unique_ptr<TokenStore>> make_token_store(const TokenStoreSettings& settings, std::stop_token stop) {
  if (settings.scope.empty()) return invalid_argument("the relay needs a name; set `name`");
  switch (settings.kind) {
    case TokenStoreKind::kSqlite: return make_sqlite_store(settings.scope, settings.sqlite);
    case TokenStoreKind::kPostgres: return make_postgres_store(settings.scope, settings.postgres, std::move(stop));
    case TokenStoreKind::kRedis: return make_redis_store(settings.scope, settings.redis, std::move(stop));
    case TokenStoreKind::kMemory: return std::make_unique<MemoryStore>();
  }
  return internal_error("unknown kind of token store");
}

}  // namespace headgate::relay
