// Calls of services whose generated code Debian does not ship: grpc.health.v1 and reflection, by hand-made bytes.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace headgate::testing {

// "SERVING", "NOT_SERVING", "UNKNOWN", "SERVICE_UNKNOWN", or the name of the gRPC error.
std::string health_of(const std::shared_ptr<grpc::Channel>& channel, const std::string& service);

// The raw answer of reflection to "list services"; it contains every name as text. Empty on failure.
std::string reflected_services(const std::shared_ptr<grpc::Channel>& channel);

}  // namespace headgate::testing
