#include "engine/write/write_service.h"

#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/write/text_form.h"
#include "engine/write/validation.h"

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::Tuple;
using Arguments = google::protobuf::Map<std::string, std::string>;
using Texts = google::protobuf::RepeatedPtrField<std::string>;

// Of all templates of a bundle together: as much as a request of the default size can say. One with a large argument in
// thousands of places would be gigabytes.
constexpr size_t kRenderedBytesMax = 4 << 20;

template <typename T>
Status render_all(const Texts& texts, const Arguments& arguments, StatusOr<T> (*parse)(std::string_view),
                  std::vector<T>* out, size_t& bytes_left) {
  for (const std::string& text : texts) {
    HG_ASSIGN_OR_RETURN(const std::string rendered, render_template(text, arguments, bytes_left));
    HG_ASSIGN_OR_RETURN(T item, parse(rendered));
    out->push_back(std::move(item));
  }
  return ok_status();
}

StatusOr<BundleStep> step_of(const base::v1::Operation& operation, const Arguments& arguments, size_t& bytes_left) {
  BundleStep step;
  HG_RETURN_IF_ERROR(
      render_all(operation.relationships_write(), arguments, parse_tuple, &step.tuples_write, bytes_left));
  HG_RETURN_IF_ERROR(
      render_all(operation.relationships_delete(), arguments, parse_tuple, &step.tuples_delete, bytes_left));
  HG_RETURN_IF_ERROR(
      render_all(operation.attributes_write(), arguments, parse_attribute, &step.attributes_write, bytes_left));
  HG_RETURN_IF_ERROR(
      render_all(operation.attributes_delete(), arguments, parse_attribute, &step.attributes_delete, bytes_left));
  return step;
}

}  // namespace

StatusOr<std::vector<BundleStep>> steps_of(const base::v1::DataBundle& bundle, const Arguments& arguments) {
  for (const std::string& name : bundle.arguments()) {
    if (!arguments.contains(name)) return api_error(base::v1::ERROR_CODE_MISSING_ARGUMENT);
  }
  std::vector<BundleStep> steps;
  size_t bytes_left = kRenderedBytesMax;
  for (const base::v1::Operation& operation : bundle.operations()) {
    auto step = step_of(operation, arguments, bytes_left);
    if (step.status().code() == StatusCode::kResourceExhausted) {
      return invalid_argument("bundle '{}' with these arguments is more than {} bytes", bundle.name(),
                              kRenderedBytesMax);
    }
    if (!step.ok()) {
      // Clients compare this message, so the reason is only told here.
      log_info("bundle_refused", {{"bundle", bundle.name()}, {"reason", message_of(step.status())}});
      return api_error(base::v1::ERROR_CODE_DATASTORE);
    }
    steps.push_back(std::move(*step));
  }
  return steps;
}

WriteService::WriteService(Datastore& store, SchemaCache& schemas, WriteSettings settings,
                           std::function<void(uint64_t)> written)
    : store_(store), schemas_(schemas), settings_(settings), written_(std::move(written)) {}

StatusOr<SnapToken> WriteService::write(const base::v1::DataWriteRequest& request) {
  return write_data(request.tenant_id(), request.metadata().schema_version(),
                    {distinct(request.tuples()), distinct(request.attributes())});
}

StatusOr<SnapToken> WriteService::write_relationships(const base::v1::RelationshipWriteRequest& request) {
  return write_data(request.tenant_id(), request.metadata().schema_version(), {distinct(request.tuples()), {}});
}

StatusOr<SnapToken> WriteService::write_data(const std::string& tenant, const std::string& version, const Data& data) {
  if (version.empty()) {
    if (auto outcome = write_at_guess(tenant, data)) return announce(std::move(*outcome));
    return write_at_newest(tenant, data);
  }
  HG_RETURN_IF_ERROR(check(tenant, version, data));
  return announce(store_.writer->write(tenant, data.tuples, data.attributes));
}

StatusOr<SnapToken> WriteService::write_at_newest(const std::string& tenant, const Data& data) {
  HG_ASSIGN_OR_RETURN(const std::string version, store_.schemas->head_version(tenant));
  schemas_.saw_newest(tenant, version);
  HG_RETURN_IF_ERROR(check(tenant, version, data));
  return announce(store_.writer->write(tenant, data.tuples, data.attributes));
}

bool WriteService::write_soon(const base::v1::DataWriteRequest& request, std::function<Status()> wanted,
                              std::function<void(WriteEnding)> done) {
  const auto data = [&request] { return Data{distinct(request.tuples()), distinct(request.attributes())}; };
  return write_data_soon(request.tenant_id(), request.metadata().schema_version(), data, std::move(wanted),
                         std::move(done));
}

bool WriteService::write_relationships_soon(const base::v1::RelationshipWriteRequest& request,
                                            std::function<Status()> wanted, std::function<void(WriteEnding)> done) {
  const auto data = [&request] { return Data{distinct(request.tuples()), {}}; };
  return write_data_soon(request.tenant_id(), request.metadata().schema_version(), data, std::move(wanted),
                         std::move(done));
}

bool WriteService::write_data_soon(const std::string& tenant, const std::string& version,
                                   const std::function<Data()>& data_of, std::function<Status()> wanted,
                                   std::function<void(WriteEnding)> done) {
  const auto head = std::make_shared<SchemaHead>(SchemaHead{schemas_.newest_seen(tenant)});
  if (!version.empty() || head->expected.empty()) return false;
  if (schemas_.get_cached(tenant, head->expected) == nullptr) return false;
  Data data = data_of();
  if (!check(tenant, head->expected, data).ok()) return false;
  auto end = [this, head, &tenant, data_of, done = std::move(done)](WriteEnding ending) {
    if (!ending.rest) return done({announce(std::move(ending.token)), {}});
    done({ending.token, [this, head, &tenant, data_of, rest = std::move(ending.rest)] {
            StatusOr<SnapToken> token = rest();
            return head->moved ? write_at_newest(tenant, data_of()) : announce(std::move(token));
          }});
  };
  return store_.writer->write_soon(tenant, std::move(data.tuples), std::move(data.attributes), head, std::move(wanted),
                                   std::move(end));
}

std::optional<StatusOr<SnapToken>> WriteService::write_at_guess(const std::string& tenant, const Data& data) {
  SchemaHead head{schemas_.newest_seen(tenant)};
  if (head.expected.empty() || !check(tenant, head.expected, data).ok()) return std::nullopt;
  StatusOr<SnapToken> token = store_.writer->write(tenant, data.tuples, data.attributes, &head);
  if (head.moved) return std::nullopt;
  return token;
}

Status WriteService::check(const std::string& tenant, const std::string& version, const Data& data) {
  HG_RETURN_IF_ERROR(validate_all(tenant, version, data));
  if (data.tuples.size() + data.attributes.size() > settings_.data_per_write_max) {
    return api_error(base::v1::ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED);
  }
  for (const Attribute& attribute : data.attributes) {
    HG_RETURN_IF_ERROR(check_size(attribute, settings_.attribute_json_bytes_max));
  }
  return ok_status();
}

// A write without rows looks nothing up, so that it succeeds under a version nobody knows, as in Permify.
Status WriteService::validate_all(const std::string& tenant, const std::string& version, const Data& data) {
  if (data.tuples.empty() && data.attributes.empty()) return ok_status();
  HG_ASSIGN_OR_RETURN(const auto schema, schemas_.get(tenant, version));
  for (const Tuple& tuple : data.tuples) HG_RETURN_IF_ERROR(validate(tuple, *schema));
  for (const Attribute& attribute : data.attributes) HG_RETURN_IF_ERROR(validate(attribute, *schema));
  return ok_status();
}

StatusOr<SnapToken> WriteService::remove(const base::v1::DataDeleteRequest& request) {
  return remove_data(request.tenant_id(), request.tuple_filter(), request.attribute_filter());
}

StatusOr<SnapToken> WriteService::remove_relationships(const base::v1::RelationshipDeleteRequest& request) {
  return remove_data(request.tenant_id(), request.filter(), {});
}

StatusOr<SnapToken> WriteService::remove_data(const std::string& tenant, const base::v1::TupleFilter& tuples,
                                              const base::v1::AttributeFilter& attributes) {
  if (is_empty(tuples) && is_empty(attributes)) return api_error(base::v1::ERROR_CODE_VALIDATION);
  return announce(store_.writer->remove(tenant, tuples, attributes));
}

StatusOr<SnapToken> WriteService::run_bundle(const base::v1::BundleRunRequest& request) {
  HG_ASSIGN_OR_RETURN(const base::v1::DataBundle bundle, store_.bundles->read(request.tenant_id(), request.name()));
  HG_ASSIGN_OR_RETURN(const std::vector<BundleStep> steps, steps_of(bundle, request.arguments()));
  for (const BundleStep& step : steps) {
    for (const Attribute& attribute : step.attributes_write) {
      HG_RETURN_IF_ERROR(check_size(attribute, settings_.attribute_json_bytes_max));
    }
  }
  return announce(store_.writer->run(request.tenant_id(), steps));
}

StatusOr<std::vector<std::string>> WriteService::write_bundles(const base::v1::BundleWriteRequest& request) {
  if (static_cast<size_t>(request.bundles_size()) > settings_.data_per_write_max) {
    return api_error(base::v1::ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED);
  }
  HG_RETURN_IF_ERROR(validate(request.bundles()));
  return store_.bundles->write(request.tenant_id(), {request.bundles().begin(), request.bundles().end()});
}

StatusOr<SnapToken> WriteService::announce(StatusOr<SnapToken> token) {
  if (token.ok() && written_) written_(token->xid);
  return token;
}

}  // namespace headgate::engine
