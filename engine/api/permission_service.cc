#include "base/v1/service.grpc.pb.h"
#include "engine/api/services.h"
#include "engine/api/unary.h"
#include "engine/model/errors.h"

namespace headgate::engine {
namespace {

using namespace base::v1;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

// A stream that ends at once.
class EndedStream : public grpc::ServerWriteReactor<PermissionLookupEntityStreamResponse> {
 public:
  explicit EndedStream(const Status& status) { Finish(to_grpc(status)); }
  void OnDone() override { std::unique_ptr<EndedStream> self(this); }
};

class PermissionService : public Permission::CallbackService {
 public:
  PermissionService(CallRunner& calls, Metrics& metrics) : calls_(calls), all_(metrics, "Permission") {}

  ServerUnaryReactor* Check(CallbackServerContext* context, const PermissionCheckRequest* request,
                            PermissionCheckResponse*) override {
    return refuse(context, *request);
  }
  ServerUnaryReactor* BulkCheck(CallbackServerContext* context, const PermissionBulkCheckRequest* request,
                                PermissionBulkCheckResponse*) override {
    return refuse(context, *request);
  }
  ServerUnaryReactor* Expand(CallbackServerContext* context, const PermissionExpandRequest* request,
                             PermissionExpandResponse*) override {
    return refuse(context, *request);
  }
  ServerUnaryReactor* LookupEntity(CallbackServerContext* context, const PermissionLookupEntityRequest* request,
                                   PermissionLookupEntityResponse*) override {
    return refuse(context, *request);
  }
  grpc::ServerWriteReactor<PermissionLookupEntityStreamResponse>* LookupEntityStream(
      CallbackServerContext* context, const PermissionLookupEntityRequest* request) override {
    GrpcCall call(*context);
    const Status admitted = calls_.admission().admit(call, *request);
    const Status end = admitted.ok() ? api_error(ERROR_CODE_NOT_IMPLEMENTED) : admitted;
    return std::make_unique<EndedStream>(end).release();
  }
  ServerUnaryReactor* LookupSubject(CallbackServerContext* context, const PermissionLookupSubjectRequest* request,
                                    PermissionLookupSubjectResponse*) override {
    return refuse(context, *request);
  }
  ServerUnaryReactor* SubjectPermission(CallbackServerContext* context,
                                        const PermissionSubjectPermissionRequest* request,
                                        PermissionSubjectPermissionResponse*) override {
    return refuse(context, *request);
  }

 private:
  ServerUnaryReactor* refuse(CallbackServerContext* context, const google::protobuf::Message& request) {
    UnaryReactor* const reactor = UnaryReactor::make(*context);
    const auto work = [] { return api_error(ERROR_CODE_NOT_IMPLEMENTED); };
    calls_.run({request, reactor->call(), all_, ERROR_CODE_SCAN, work, {}, reactor->finish()});
    return reactor;
  }

  CallRunner& calls_;
  MethodMetrics all_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_permission_service(CallRunner& calls, Metrics& metrics) {
  return std::make_unique<PermissionService>(calls, metrics);
}

}  // namespace headgate::engine
