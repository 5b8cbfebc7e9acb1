// The factories behind make_postgres_datastore().
#pragma once

#include <memory>

#include "engine/storage/postgres_datastore.h"

namespace headgate::engine {

std::unique_ptr<TenantStore> make_postgres_tenants(std::shared_ptr<Pool> pool);
std::unique_ptr<SchemaStore> make_postgres_schemas(std::shared_ptr<Pool> pool, Clock& clock);
std::unique_ptr<BundleStore> make_postgres_bundles(std::shared_ptr<Pool> pool);
std::unique_ptr<DataReader> make_postgres_reader(std::shared_ptr<Pool> pool);
std::unique_ptr<DataWriter> make_postgres_writer(std::shared_ptr<Pool> pool, DatastoreSettings settings);

}  // namespace headgate::engine
