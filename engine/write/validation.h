// What a write must satisfy before it reaches the database. Pure functions; the order of the checks decides which of
// several faults a client hears of, and it is Permify's.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "base/v1/base.pb.h"

namespace headgate::engine {

// Without repetitions, the first of equal keys wins: tuples by their whole text, attributes by entity and name.
std::vector<base::v1::Tuple> distinct(const google::protobuf::RepeatedPtrField<base::v1::Tuple>& tuples);
std::vector<base::v1::Attribute> distinct(const google::protobuf::RepeatedPtrField<base::v1::Attribute>& attributes);

Status validate(const base::v1::Tuple& tuple, const base::v1::SchemaDefinition& schema);
Status validate(const base::v1::Attribute& attribute, const base::v1::SchemaDefinition& schema);

// INVALID_ARGUMENT when the attribute, as the JSON that sinks send, has more than `json_bytes_max`.
Status check_size(const base::v1::Attribute& attribute, size_t json_bytes_max);

bool is_empty(const base::v1::TupleFilter& filter);
bool is_empty(const base::v1::AttributeFilter& filter);

// What Bundle.Write refuses: no bundle at all, or a text twice in one list of an operation.
Status validate(const google::protobuf::RepeatedPtrField<base::v1::DataBundle>& bundles);

}  // namespace headgate::engine
