#include "engine/storage/postgres_datastore.h"

#include "engine/storage/postgres_stores.h"

namespace headgate::engine {

StatusOr<Datastore> make_postgres_datastore(std::shared_ptr<Pool> pool, DatastoreSettings settings) {
  if (pool == nullptr) return invalid_argument("the datastore needs a pool of connections");
  const std::shared_ptr<Pool> reads = settings.read_pool != nullptr ? settings.read_pool : pool;
  Datastore store;
  store.tenants = make_postgres_tenants(pool);
  store.schemas = make_postgres_schemas(pool, system_clock());
  store.bundles = make_postgres_bundles(pool);
  store.reader = make_postgres_reader(reads);
  store.writer = make_postgres_writer(pool, std::move(settings));
  return store;
}

}  // namespace headgate::engine
