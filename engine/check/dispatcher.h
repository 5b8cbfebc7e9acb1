// Where a sub-problem may be answered besides here: a cache, or the process that owns it.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "base/v1/base.pb.h"

namespace headgate::engine {

struct Scope;

// entity#name for one subject. `name` is a relation, a permission, an attribute, or a call of a rule: "rule(a,b)".
struct SubProblem {
  base::v1::Entity entity;
  std::string name;
  const base::v1::Subject* subject = nullptr;
};

class Dispatcher {
 public:
  enum class Answer : uint8_t { kHere, kDenied, kAllowed };

  virtual ~Dispatcher() = default;
  // What a level has opened, all at once. `answers` are kHere at first, and what stays so is worked on by the caller.
  // The state, the schema and the context are those of `scope`. May block; an error ends the request.
  virtual Status dispatch(const Scope& scope, std::span<const SubProblem> opened, std::span<Answer> answers) = 0;
};

}  // namespace headgate::engine
