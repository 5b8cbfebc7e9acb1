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
    : parts_{store, schemas, settings, std::move(written)} {}

std::shared_ptr<CheckedWrite> WriteService::prepare(const base::v1::DataWriteRequest& request) {
  const auto data = [&request] {
    return CheckedWrite::Data{distinct(request.tuples()), distinct(request.attributes())};
  };
  return std::make_shared<CheckedWrite>(parts_, request.tenant_id(), request.metadata().schema_version(), data);
}

std::shared_ptr<CheckedWrite> WriteService::prepare(const base::v1::RelationshipWriteRequest& request) {
  const auto data = [&request] { return CheckedWrite::Data{distinct(request.tuples()), {}}; };
  return std::make_shared<CheckedWrite>(parts_, request.tenant_id(), request.metadata().schema_version(), data);
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
  return parts_.announce(parts_.store.writer->remove(tenant, tuples, attributes));
}

StatusOr<SnapToken> WriteService::run_bundle(const base::v1::BundleRunRequest& request) {
  HG_ASSIGN_OR_RETURN(const base::v1::DataBundle bundle,
                      parts_.store.bundles->read(request.tenant_id(), request.name()));
  HG_ASSIGN_OR_RETURN(const std::vector<BundleStep> steps, steps_of(bundle, request.arguments()));
  for (const BundleStep& step : steps) {
    for (const Attribute& attribute : step.attributes_write) {
      HG_RETURN_IF_ERROR(check_size(attribute, parts_.settings.attribute_json_bytes_max));
    }
  }
  return parts_.announce(parts_.store.writer->run(request.tenant_id(), steps));
}

StatusOr<std::vector<std::string>> WriteService::write_bundles(const base::v1::BundleWriteRequest& request) {
  if (static_cast<size_t>(request.bundles_size()) > parts_.settings.data_per_write_max) {
    return api_error(base::v1::ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED);
  }
  HG_RETURN_IF_ERROR(validate(request.bundles()));
  return parts_.store.bundles->write(request.tenant_id(), {request.bundles().begin(), request.bundles().end()});
}

}  // namespace headgate::engine
