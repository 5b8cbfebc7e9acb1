#include "base/v1/service.grpc.pb.h"
#include "engine/api/services.h"
#include "engine/write/write_service.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

class BundleService : public Bundle::CallbackService {
 public:
  BundleService(CallRunner& calls, WriteService& writes, BundleStore& bundles)
      : calls_(calls), writes_(writes), bundles_(bundles) {}

  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context, const BundleWriteRequest* request,
                                  BundleWriteResponse* response) override {
    return calls_.run(context, *request, write_, ERROR_CODE_EXECUTION, [=, this]() -> Status {
      HG_ASSIGN_OR_RETURN(const std::vector<std::string> names, writes_.write_bundles(*request));
      for (const std::string& name : names) response->add_names(name);
      return ok_status();
    });
  }

  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, const BundleReadRequest* request,
                                 BundleReadResponse* response) override {
    return calls_.run(context, *request, read_, ERROR_CODE_SCAN, [=, this]() -> Status {
      HG_ASSIGN_OR_RETURN(*response->mutable_bundle(), bundles_.read(request->tenant_id(), request->name()));
      return ok_status();
    });
  }

  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context, const BundleDeleteRequest* request,
                                   BundleDeleteResponse* response) override {
    return calls_.run(context, *request, delete_, ERROR_CODE_EXECUTION, [=, this] {
      response->set_name(request->name());
      return bundles_.remove(request->tenant_id(), request->name());
    });
  }

 private:
  CallRunner& calls_;
  WriteService& writes_;
  BundleStore& bundles_;
  MethodMetrics write_{calls_.metrics(), "Bundle.Write"};
  MethodMetrics read_{calls_.metrics(), "Bundle.Read"};
  MethodMetrics delete_{calls_.metrics(), "Bundle.Delete"};
};

}  // namespace

std::unique_ptr<grpc::Service> make_bundle_service(CallRunner& calls, WriteService& writes, BundleStore& bundles) {
  return std::make_unique<BundleService>(calls, writes, bundles);
}

}  // namespace headgate::engine
