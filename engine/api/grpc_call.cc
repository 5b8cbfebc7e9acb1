#include "engine/api/grpc_call.h"

#include "engine/rpc/error_details.h"

namespace headgate::engine {

std::string_view GrpcCall::metadata(std::string_view name) const {
  const auto& all = context_.client_metadata();
  const auto found = all.find(grpc::string_ref(name.data(), name.size()));
  return found == all.end() ? std::string_view() : std::string_view(found->second.data(), found->second.size());
}

grpc::Status to_grpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message_of(status), details_of(status));
}

}  // namespace headgate::engine
