#include <google/protobuf/util/json_util.h>

#include "engine/model/errors.h"
#include "engine/storage/postgres_stores.h"
#include "engine/storage/sql.h"
#include "engine/storage/unreadable.h"

namespace headgate::engine {

namespace {

using base::v1::DataBundle;

StatusOr<std::string> json_of(const DataBundle& bundle) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(bundle, &json, options);
  if (!printed.ok()) return internal_error("a bundle cannot be stored: {}", printed.message().ToString());
  return json;
}

class PostgresBundles : public BundleStore {
 public:
  explicit PostgresBundles(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}

  StatusOr<std::vector<std::string>> write(const std::string& tenant, const std::vector<DataBundle>& bundles) override {
    std::vector<std::string> names;
    std::vector<std::string> payloads;
    for (const DataBundle& bundle : bundles) {
      HG_ASSIGN_OR_RETURN(std::string json, json_of(bundle));
      names.push_back(bundle.name());
      payloads.push_back(std::move(json));
    }
    const Status status = pool_->run([&](pqxx::connection_base& connection) {
      pqxx::nontransaction(connection)
          .exec_params(
              "INSERT INTO bundles (name, payload, tenant_id)"
              " SELECT name, payload::jsonb, $1 FROM unnest($2::text[], $3::text[]) AS b(name, payload)"
              " ON CONFLICT (name, tenant_id) DO UPDATE SET payload = excluded.payload",
              tenant, array_text(names), array_text(payloads));
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_EXECUTION);
    return names;
  }

  StatusOr<DataBundle> read(const std::string& tenant, const std::string& name) override {
    DataBundle bundle;
    const Status status = pool_->read([&](pqxx::connection_base& connection) {
      const pqxx::result rows =
          pqxx::nontransaction(connection)
              .exec_params("SELECT payload FROM bundles WHERE tenant_id = $1 AND name = $2", tenant, name);
      if (rows.empty()) return api_error(base::v1::ERROR_CODE_BUNDLE_NOT_FOUND);
      const auto parsed = google::protobuf::util::JsonStringToMessage(rows[0][0].c_str(), &bundle);
      if (!parsed.ok()) {
        // The reader's own words quote the payload, and may cut it inside of a character.
        return api_error(base::v1::ERROR_CODE_SCAN,
                         fmt::format("row of bundles ({} of tenant {}): its payload is no JSON of a DataBundle; write "
                                     "the bundle again",
                                     shown(name), shown(tenant)));
      }
      return ok_status();
    });
    if (!status.ok()) return client_error(status, base::v1::ERROR_CODE_SCAN);
    return bundle;
  }

  Status remove(const std::string& tenant, const std::string& name) override {
    const Status status = pool_->run([&](pqxx::connection_base& connection) {
      pqxx::nontransaction(connection)
          .exec_params("DELETE FROM bundles WHERE tenant_id = $1 AND name = $2", tenant, name);
      return ok_status();
    });
    return client_error(status, base::v1::ERROR_CODE_EXECUTION);
  }

 private:
  const std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<BundleStore> make_postgres_bundles(std::shared_ptr<Pool> pool) {
  return std::make_unique<PostgresBundles>(std::move(pool));
}

}  // namespace headgate::engine
