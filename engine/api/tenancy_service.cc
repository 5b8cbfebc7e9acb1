#include "base/v1/service.grpc.pb.h"
#include "engine/api/services.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

class TenancyService : public Tenancy::CallbackService {
 public:
  TenancyService(CallRunner& calls, TenantStore& tenants, PageLimits limits)
      : calls_(calls), tenants_(tenants), limits_(limits) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context, const TenantCreateRequest* request,
                                   TenantCreateResponse* response) override {
    return calls_.run(context, *request, create_, ERROR_CODE_EXECUTION, [=, this] {
      HG_ASSIGN_OR_RETURN(*response->mutable_tenant(), tenants_.create(request->id(), request->name()));
      return ok_status();
    });
  }

  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context, const TenantDeleteRequest* request,
                                   TenantDeleteResponse* response) override {
    return calls_.run(context, *request, delete_, ERROR_CODE_EXECUTION, [=, this] {
      response->set_tenant_id(request->id());
      return tenants_.remove(request->id());
    });
  }

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const TenantListRequest* request,
                                 TenantListResponse* response) override {
    return calls_.run(context, *request, list_, ERROR_CODE_EXECUTION, [=, this]() -> Status {
      HG_ASSIGN_OR_RETURN(Page<Tenant> page,
                          tenants_.list(limits_.page(request->page_size(), request->continuous_token())));
      for (Tenant& tenant : page.items) *response->add_tenants() = std::move(tenant);
      response->set_continuous_token(page.next);
      return ok_status();
    });
  }

 private:
  CallRunner& calls_;
  TenantStore& tenants_;
  const PageLimits limits_;
  MethodMetrics create_{calls_.metrics(), "Tenancy.Create"};
  MethodMetrics delete_{calls_.metrics(), "Tenancy.Delete"};
  MethodMetrics list_{calls_.metrics(), "Tenancy.List"};
};

}  // namespace

std::unique_ptr<grpc::Service> make_tenancy_service(CallRunner& calls, TenantStore& tenants, PageLimits limits) {
  return std::make_unique<TenancyService>(calls, tenants, limits);
}

}  // namespace headgate::engine
