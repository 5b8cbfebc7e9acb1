// Values of attributes, as base.v1 keeps them in an Any, as values of expressions.
#pragma once

#include <google/protobuf/any.pb.h>

#include "base/v1/base.pb.h"
#include "engine/cel/heap.h"

namespace headgate::engine::cel {

// Integers become int, doubles double, arrays lists. Texts are not copied, so `attribute` outlives the value. An error
// of kind kConversion when it is no value of base.v1, or holds broken bytes.
Value from_attribute(const google::protobuf::Any& attribute, Heap& heap);

// What an attribute without a row is for a rule: false, '', 0, 0.0 or an empty list.
Value zero_of(base::v1::AttributeType type);

}  // namespace headgate::engine::cel
