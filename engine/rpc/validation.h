// Checks requests against the field rules of base.v1, with the texts that its clients know:
//   invalid DataWriteRequest.Tuples[0]: embedded message failed validation | caused by: invalid Tuple.Relation: ...
// Only the first violation is reported, in the order of declaration, as Permify does. Then zero bytes are looked for in
// every text: Permify answers those with an error of the database.
//
// The rules are a table (validation_rules.cc); a plan per message type is made once. Thread-safe after construction.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include "base/status.h"

namespace headgate::engine {

enum class FieldRule {
  kTenantOrId,  // tenant and object ids
  kName,        // type, relation and permission names
  kNameOrEmpty,
  kRequired,      // a message that must be there
  kAtLeastOne,    // items
  kOneToHundred,  // items
  kDepth,         // a number >= 3
  kNewTenantId,
  kNewTenantName,
};

struct FieldRuleRow {
  const char* message;  // within base.v1, or with its package
  const char* field;
  FieldRule rule;
};
std::span<const FieldRuleRow> field_rules();

class Validator {
 public:
  Validator();
  ~Validator();
  Validator(const Validator&) = delete;
  Validator& operator=(const Validator&) = delete;

  // INVALID_ARGUMENT for the first violation.
  Status check(const google::protobuf::Message& request) const;

 private:
  struct Plan;

  const Plan* plan_of(const google::protobuf::Descriptor* type);
  // Empty when all is well, else the text.
  static std::string walk(const Plan& plan, const google::protobuf::Message& message);

  std::unordered_map<const google::protobuf::Descriptor*, std::unique_ptr<Plan>> plans_;
};

}  // namespace headgate::engine
