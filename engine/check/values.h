// Values of attributes as checks need them.
#pragma once

#include <optional>

#include "engine/check/facts.h"
#include "engine/check/rules.h"

namespace headgate::engine {

// ATTRIBUTE_TYPE_MISMATCH for anything else.
StatusOr<bool> boolean_of(const google::protobuf::Any& value);
// What an attribute without a value counts as in a rule.
google::protobuf::Any zero_of(base::v1::AttributeType type);
// The full name of the message that values of the type are.
std::string message_of_type(base::v1::AttributeType type);

// The attributes of an entity that a rule is called with, or nothing as long as one is not known; it was asked for
// then. A stored value goes before one of the context, as in Permify, and without either it is the zero of its type.
StatusOr<std::optional<RuleCall>> call_of(Facts& facts, const base::v1::EntityDefinition& definition,
                                          const base::v1::Entity& entity, const Arguments* arguments);

}  // namespace headgate::engine
