// Tree to definition. Follows no references; what is not known to be an attribute counts as a relation or permission.
#pragma once

#include <optional>

#include "base/v1/base.pb.h"
#include "engine/schema/names.h"

namespace headgate::engine {

// Nothing and a fault for unknown types, permissions that cannot be expressed, and rules that are no condition.
std::optional<base::v1::SchemaDefinition> compile_tree(const Schema& schema, const Names& names, Fault& fault);

// UNSPECIFIED when there is no such type.
base::v1::AttributeType attribute_type(const ValueType& type);

// "integer[]".
std::string spell(const ValueType& type);

}  // namespace headgate::engine
