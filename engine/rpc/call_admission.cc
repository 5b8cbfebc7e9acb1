#include "engine/rpc/call_admission.h"

namespace headgate::engine {

Status CallAdmission::admit(Call& call, const google::protobuf::Message& request) const {
  if (memory_ != nullptr && memory_->is_short()) {
    return make_status(StatusCode::kResourceExhausted, "memory is short; try again later, or at another engine");
  }
  HG_RETURN_IF_ERROR(validator_.check(request));
  HG_ASSIGN_OR_RETURN(Principal principal, authenticator_.identify(call.metadata("authorization")));
  call.set_principal(std::move(principal));
  admitted_.note(call.peer());
  return ok_status();
}

}  // namespace headgate::engine
