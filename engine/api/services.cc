#include "engine/api/services.h"

#include "base/v1/service.grpc.pb.h"
#include "engine/api/unary.h"

namespace headgate::engine {
namespace {

using namespace base::v1;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

template <typename Service, typename Methods>
class MethodsService : public Service {
 public:
  MethodsService(CallRunner& calls, Methods methods) : methods_(std::move(methods)), calls_(calls) {}

 protected:
  template <typename Request, typename Response>
  ServerUnaryReactor* run(const Method<Request, Response>& method, CallbackServerContext* context,
                          const Request* request, Response* response) {
    return run_unary(calls_, method, context, request, response);
  }

  const Methods methods_;

 private:
  CallRunner& calls_;
};

class TenancyService : public MethodsService<Tenancy::CallbackService, TenancyMethods> {
 public:
  using MethodsService::MethodsService;

  ServerUnaryReactor* Create(CallbackServerContext* context, const TenantCreateRequest* request,
                             TenantCreateResponse* response) override {
    return run(methods_.create, context, request, response);
  }
  ServerUnaryReactor* Delete(CallbackServerContext* context, const TenantDeleteRequest* request,
                             TenantDeleteResponse* response) override {
    return run(methods_.remove, context, request, response);
  }
  ServerUnaryReactor* List(CallbackServerContext* context, const TenantListRequest* request,
                           TenantListResponse* response) override {
    return run(methods_.list, context, request, response);
  }
};

class SchemaService : public MethodsService<Schema::CallbackService, SchemaMethods> {
 public:
  using MethodsService::MethodsService;

  ServerUnaryReactor* Write(CallbackServerContext* context, const SchemaWriteRequest* request,
                            SchemaWriteResponse* response) override {
    return run(methods_.write, context, request, response);
  }
  ServerUnaryReactor* PartialWrite(CallbackServerContext* context, const SchemaPartialWriteRequest* request,
                                   SchemaPartialWriteResponse* response) override {
    return run(methods_.partial_write, context, request, response);
  }
  ServerUnaryReactor* Read(CallbackServerContext* context, const SchemaReadRequest* request,
                           SchemaReadResponse* response) override {
    return run(methods_.read, context, request, response);
  }
  ServerUnaryReactor* List(CallbackServerContext* context, const SchemaListRequest* request,
                           SchemaListResponse* response) override {
    return run(methods_.list, context, request, response);
  }
};

class DataService : public MethodsService<Data::CallbackService, DataMethods> {
 public:
  using MethodsService::MethodsService;

  ServerUnaryReactor* Write(CallbackServerContext* context, const DataWriteRequest* request,
                            DataWriteResponse* response) override {
    return run(methods_.write, context, request, response);
  }
  ServerUnaryReactor* WriteRelationships(CallbackServerContext* context, const RelationshipWriteRequest* request,
                                         RelationshipWriteResponse* response) override {
    return run(methods_.write_relationships, context, request, response);
  }
  ServerUnaryReactor* ReadRelationships(CallbackServerContext* context, const RelationshipReadRequest* request,
                                        RelationshipReadResponse* response) override {
    return run(methods_.read_relationships, context, request, response);
  }
  ServerUnaryReactor* ReadAttributes(CallbackServerContext* context, const AttributeReadRequest* request,
                                     AttributeReadResponse* response) override {
    return run(methods_.read_attributes, context, request, response);
  }
  ServerUnaryReactor* Delete(CallbackServerContext* context, const DataDeleteRequest* request,
                             DataDeleteResponse* response) override {
    return run(methods_.remove, context, request, response);
  }
  ServerUnaryReactor* DeleteRelationships(CallbackServerContext* context, const RelationshipDeleteRequest* request,
                                          RelationshipDeleteResponse* response) override {
    return run(methods_.remove_relationships, context, request, response);
  }
  ServerUnaryReactor* RunBundle(CallbackServerContext* context, const BundleRunRequest* request,
                                BundleRunResponse* response) override {
    return run(methods_.run_bundle, context, request, response);
  }
};

class BundleService : public MethodsService<Bundle::CallbackService, BundleMethods> {
 public:
  using MethodsService::MethodsService;

  ServerUnaryReactor* Write(CallbackServerContext* context, const BundleWriteRequest* request,
                            BundleWriteResponse* response) override {
    return run(methods_.write, context, request, response);
  }
  ServerUnaryReactor* Read(CallbackServerContext* context, const BundleReadRequest* request,
                           BundleReadResponse* response) override {
    return run(methods_.read, context, request, response);
  }
  ServerUnaryReactor* Delete(CallbackServerContext* context, const BundleDeleteRequest* request,
                             BundleDeleteResponse* response) override {
    return run(methods_.remove, context, request, response);
  }
};

}  // namespace

std::unique_ptr<grpc::Service> make_tenancy_service(CallRunner& calls, TenancyMethods methods) {
  return std::make_unique<TenancyService>(calls, std::move(methods));
}

std::unique_ptr<grpc::Service> make_schema_service(CallRunner& calls, SchemaMethods methods) {
  return std::make_unique<SchemaService>(calls, std::move(methods));
}

std::unique_ptr<grpc::Service> make_data_service(CallRunner& calls, DataMethods methods) {
  return std::make_unique<DataService>(calls, std::move(methods));
}

std::unique_ptr<grpc::Service> make_bundle_service(CallRunner& calls, BundleMethods methods) {
  return std::make_unique<BundleService>(calls, std::move(methods));
}

}  // namespace headgate::engine
