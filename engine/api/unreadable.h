// Calls whose request is no message of the expected type, or has a text that is no UTF-8. gRPC answers these by itself,
// with UNIMPLEMENTED and without a word; clients then believe that the method is missing.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <vector>

namespace headgate::engine {

// For ServerBuilder. They answer INVALID_ARGUMENT, on all methods with typed requests.
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> make_unreadable_interceptors();

}  // namespace headgate::engine
