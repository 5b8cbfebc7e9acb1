#include "base/v1/service.grpc.pb.h"
#include "engine/api/entity_stream.h"
#include "engine/api/services.h"
#include "engine/api/unary.h"

namespace headgate::engine {
namespace {

using namespace base::v1;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

class PermissionService : public Permission::CallbackService {
 public:
  PermissionService(CallRunner& calls, PermissionMethods methods) : calls_(calls), methods_(std::move(methods)) {}

  ServerUnaryReactor* Check(CallbackServerContext* context, const PermissionCheckRequest* request,
                            PermissionCheckResponse* response) override {
    return run_unary(calls_, methods_.check, context, request, response);
  }
  ServerUnaryReactor* BulkCheck(CallbackServerContext* context, const PermissionBulkCheckRequest* request,
                                PermissionBulkCheckResponse* response) override {
    return run_unary(calls_, methods_.bulk_check, context, request, response);
  }
  ServerUnaryReactor* Expand(CallbackServerContext* context, const PermissionExpandRequest* request,
                             PermissionExpandResponse* response) override {
    return run_unary(calls_, methods_.expand, context, request, response);
  }
  ServerUnaryReactor* LookupEntity(CallbackServerContext* context, const PermissionLookupEntityRequest* request,
                                   PermissionLookupEntityResponse* response) override {
    return run_unary(calls_, methods_.lookup_entity, context, request, response);
  }
  grpc::ServerWriteReactor<PermissionLookupEntityStreamResponse>* LookupEntityStream(
      CallbackServerContext* context, const PermissionLookupEntityRequest* request) override {
    EntityStream* const stream = EntityStream::make(*context);
    const auto& method = methods_.lookup_entity_stream;
    const auto work = [&method, request, stream] {
      return method.handle(*request, stream->call(), [stream](PermissionLookupEntityStreamResponse message) {
        return stream->write(std::move(message));
      });
    };
    calls_.run({*request, stream->call(), *method.metrics, method.away(*request), work, {}, stream->finish()});
    return stream;
  }
  ServerUnaryReactor* LookupSubject(CallbackServerContext* context, const PermissionLookupSubjectRequest* request,
                                    PermissionLookupSubjectResponse* response) override {
    return run_unary(calls_, methods_.lookup_subject, context, request, response);
  }
  ServerUnaryReactor* SubjectPermission(CallbackServerContext* context,
                                        const PermissionSubjectPermissionRequest* request,
                                        PermissionSubjectPermissionResponse* response) override {
    return run_unary(calls_, methods_.subject_permission, context, request, response);
  }

 private:
  CallRunner& calls_;
  const PermissionMethods methods_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_permission_service(CallRunner& calls, PermissionMethods methods) {
  return std::make_unique<PermissionService>(calls, std::move(methods));
}

}  // namespace headgate::engine
