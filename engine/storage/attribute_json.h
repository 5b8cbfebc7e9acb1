// Attribute values between their column (jsonb holding the protobuf JSON of an Any) and google.protobuf.Any.
//
// Zero values have no "data" key in the column, doubles and integers are as protobuf JSON has them. Both directions are
// deterministic: equal input gives equal bytes. Thread-safe.
#pragma once

#include <google/protobuf/any.pb.h>

#include <string>

#include "base/status.h"

namespace headgate::engine {

// INTERNAL for text that is not the JSON of a known base.v1 value.
StatusOr<google::protobuf::Any> attribute_value_from_json(const std::string& json);
// INVALID_ARGUMENT for an Any of an unknown type, with bytes that do not fit its type, or with a zero byte in a text,
// which PostgreSQL cannot hold. What is returned can be read again.
StatusOr<std::string> attribute_value_to_json(const google::protobuf::Any& value);

}  // namespace headgate::engine
