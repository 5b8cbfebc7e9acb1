// Which calls are let in, the same for all services, streams and edges: the field rules, then who is calling.
#pragma once

#include "engine/rpc/admitted_calls.h"
#include "engine/rpc/authenticator.h"
#include "engine/rpc/call.h"
#include "engine/rpc/validation.h"

namespace headgate::engine {

class CallAdmission {
 public:
  // Both are borrowed. `admitted`: where those are noted that were let in.
  CallAdmission(const Authenticator& authenticator, AdmittedCalls& admitted)
      : authenticator_(authenticator), admitted_(admitted) {}

  // INVALID_ARGUMENT or UNAUTHENTICATED, with the texts that clients know. Sets the call's principal. Thread-safe, does
  // not block.
  Status admit(Call& call, const google::protobuf::Message& request) const;

 private:
  const Validator validator_;
  const Authenticator& authenticator_;
  AdmittedCalls& admitted_;
};

}  // namespace headgate::engine
