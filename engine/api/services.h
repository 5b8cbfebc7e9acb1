// The unary services of base.v1 as gRPC serves them. All are thread-safe; `calls` is borrowed and must outlive the
// server.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "engine/rpc/call_runner.h"
#include "engine/rpc/methods.h"

namespace headgate::engine {

std::unique_ptr<grpc::Service> make_tenancy_service(CallRunner& calls, TenancyMethods methods);
std::unique_ptr<grpc::Service> make_schema_service(CallRunner& calls, SchemaMethods methods);
std::unique_ptr<grpc::Service> make_data_service(CallRunner& calls, DataMethods methods);
std::unique_ptr<grpc::Service> make_bundle_service(CallRunner& calls, BundleMethods methods);
std::unique_ptr<grpc::Service> make_permission_service(CallRunner& calls, PermissionMethods methods);

}  // namespace headgate::engine
