#include "engine/rpc/methods.h"
#include "engine/write/write_service.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

class BundleHandlers {
 public:
  BundleHandlers(WriteService& writes, BundleStore& bundles) : writes_(writes), bundles_(bundles) {}

  StatusOr<BundleWriteResponse> write(const BundleWriteRequest& request, Call&) {
    HG_ASSIGN_OR_RETURN(const std::vector<std::string> names, writes_.write_bundles(request));
    BundleWriteResponse response;
    for (const std::string& name : names) response.add_names(name);
    return response;
  }

  StatusOr<BundleReadResponse> read(const BundleReadRequest& request, Call&) {
    BundleReadResponse response;
    HG_ASSIGN_OR_RETURN(*response.mutable_bundle(), bundles_.read(request.tenant_id(), request.name()));
    return response;
  }

  StatusOr<BundleDeleteResponse> remove(const BundleDeleteRequest& request, Call&) {
    HG_RETURN_IF_ERROR(bundles_.remove(request.tenant_id(), request.name()));
    BundleDeleteResponse response;
    response.set_name(request.name());
    return response;
  }

 private:
  WriteService& writes_;
  BundleStore& bundles_;
};

}  // namespace

BundleMethods make_bundle_methods(Metrics& metrics, WriteService& writes, BundleStore& bundles) {
  const auto handlers = std::make_shared<BundleHandlers>(writes, bundles);
  return {make_method(metrics, "Bundle.Write", always(ERROR_CODE_EXECUTION), handlers, &BundleHandlers::write),
          make_method(metrics, "Bundle.Read", always(ERROR_CODE_SCAN), handlers, &BundleHandlers::read),
          make_method(metrics, "Bundle.Delete", always(ERROR_CODE_EXECUTION), handlers, &BundleHandlers::remove)};
}

}  // namespace headgate::engine
