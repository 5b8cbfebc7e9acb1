// The last step of both ways to write a schema: a tree becomes what is stored, if it is right.
#pragma once

#include "engine/schema/schema.h"
#include "engine/schema/tree.h"

namespace headgate::engine {

// Checks names, references and rules, prints the rows, and reads them back for the definition. `kept` rows replace
// the printed rows of their names.
StatusOr<CompiledSchema> check_and_print(const Schema& schema, const std::vector<SchemaRow>& kept = {});

}  // namespace headgate::engine
