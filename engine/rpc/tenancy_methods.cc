#include "engine/rpc/methods.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

class TenancyHandlers {
 public:
  TenancyHandlers(TenantStore& tenants, PageLimits limits, std::function<void()> written)
      : tenants_(tenants), limits_(limits), written_(std::move(written)) {}

  StatusOr<TenantCreateResponse> create(const TenantCreateRequest& request, Call&) {
    TenantCreateResponse response;
    HG_ASSIGN_OR_RETURN(*response.mutable_tenant(), tenants_.create(request.id(), request.name()));
    return response;
  }

  StatusOr<TenantDeleteResponse> remove(const TenantDeleteRequest& request, Call&) {
    HG_RETURN_IF_ERROR(tenants_.remove(request.id()));
    if (written_) written_();
    TenantDeleteResponse response;
    response.set_tenant_id(request.id());
    return response;
  }

  StatusOr<TenantListResponse> list(const TenantListRequest& request, Call&) {
    HG_ASSIGN_OR_RETURN(Page<Tenant> page,
                        tenants_.list(limits_.page(request.page_size(), request.continuous_token())));
    TenantListResponse response;
    for (Tenant& tenant : page.items) *response.add_tenants() = std::move(tenant);
    response.set_continuous_token(page.next);
    return response;
  }

 private:
  TenantStore& tenants_;
  const PageLimits limits_;
  const std::function<void()> written_;
};

}  // namespace

TenancyMethods make_tenancy_methods(Metrics& metrics, TenantStore& tenants, PageLimits limits,
                                    std::function<void()> written) {
  const auto handlers = std::make_shared<TenancyHandlers>(tenants, limits, std::move(written));
  const auto away = always(ERROR_CODE_EXECUTION);
  return {make_method(metrics, "Tenancy.Create", away, handlers, &TenancyHandlers::create),
          make_method(metrics, "Tenancy.Delete", away, handlers, &TenancyHandlers::remove),
          make_method(metrics, "Tenancy.List", away, handlers, &TenancyHandlers::list)};
}

}  // namespace headgate::engine
