// Which calls are let in, the same for all services, streams and edges: the field rules, then who is calling.
#pragma once

#include "base/memory_limit.h"
#include "engine/rpc/admitted_calls.h"
#include "engine/rpc/authenticator.h"
#include "engine/rpc/call.h"
#include "engine/rpc/validation.h"

namespace headgate::engine {

class CallAdmission {
 public:
  // All are borrowed. `admitted`: where those are noted that were let in. Without `memory` it is never short.
  CallAdmission(const Authenticator& authenticator, AdmittedCalls& admitted, const MemoryWatch* memory = nullptr)
      : authenticator_(authenticator), admitted_(admitted), memory_(memory) {}

  // INVALID_ARGUMENT or UNAUTHENTICATED, with the texts that clients know; RESOURCE_EXHAUSTED while memory is short.
  // Sets the call's principal. Thread-safe, does not block.
  Status admit(Call& call, const google::protobuf::Message& request) const;

 private:
  const Validator validator_;
  const Authenticator& authenticator_;
  AdmittedCalls& admitted_;
  const MemoryWatch* const memory_;
};

}  // namespace headgate::engine
