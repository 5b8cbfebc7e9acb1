// The schema language: text in, definitions and stored rows out.
//
// Pure functions without state; every thread may call them at any time, nothing blocks. Time and memory are nearly
// linear in the text, and the depth of nesting is bounded, so any input is safe.
//
// Errors of compile_schema and apply_partials are INVALID_ARGUMENT with a text for people that begins with a name for
// programs: "ERROR_CODE_UNDEFINED_RELATION_REFERENCE: 4:21: ...", line and column from 1 at the offending word.
// Errors of the two readers mean that the store holds something that is no schema: INTERNAL.
#pragma once

#include <google/protobuf/map.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/v1/base.pb.h"
#include "engine/model/schema_row.h"

namespace headgate::engine {

// What is accepted and what is to be stored for it. Rows are ordered by name; the definition is that of the rows, so
// it equals what read_schema gives for them, positions inside rules included.
struct CompiledSchema {
  base::v1::SchemaDefinition definition;
  std::vector<SchemaRow> rows;
};

// Checks the whole text, references and rules included.
StatusOr<CompiledSchema> compile_schema(std::string_view text);

// Joins and reads stored rows in any order, ours or Permify's. Rules are type-checked, references are not followed.
// No rows give an empty definition.
StatusOr<base::v1::SchemaDefinition> read_schema(const std::vector<SchemaRow>& rows);

// Reads one stored row, for the validation of writes. ERROR_CODE_ENTITY_DEFINITION_NOT_FOUND (NOT_FOUND) when the
// row holds no entity of its name, for example a rule.
StatusOr<base::v1::EntityDefinition> read_entity(const SchemaRow& row);

// Reads one stored row that holds a rule. ERROR_CODE_RULE_DEFINITION_NOT_FOUND (NOT_FOUND) when it holds none.
StatusOr<base::v1::RuleDefinition> read_rule(const SchemaRow& row);

// Changes statements of entities and checks the result as compile_schema does. Entities in the order of their names;
// in each all writes, then all updates, then all deletes. Every string holds exactly one statement. Rows of entities
// and rules that are not named stay as they are, byte by byte.
// ERROR_CODE_ALREADY_EXIST, ERROR_CODE_REFERENCE_NOT_FOUND, ERROR_CODE_ENTITY_STATEMENT_NOT_FOUND and
// ERROR_CODE_CANNOT_CONVERT_TO_ENTITY_STATEMENT have no detail, because clients compare them, and the status code of
// their numbers. Places in other errors name their text: "doc.write[0] 1:9", or "row doc 3:4" for a stored one.
// INTERNAL when the stored rows are no schema.
StatusOr<CompiledSchema> apply_partials(const std::vector<SchemaRow>& rows,
                                        const google::protobuf::Map<std::string, base::v1::Partials>& partials);

}  // namespace headgate::engine
