// A schema text of a client, and the same text as a stored row.
#include "engine/schema/schema.h"
#include "tests/fuzz/properties.h"
#include "tests/fuzz/schema_properties.h"

namespace headgate::fuzz {

void schema_target(std::string_view input) {
  const auto compiled = engine::compile_schema(input);
  if (compiled.ok()) {
    demand_sound(*compiled);
  } else {
    demand_refusal(compiled.status(), {StatusCode::kInvalidArgument});
    demand(compiled.status().message().find("ERROR_CODE_") == 0, "a fault without a name: {}",
           message_of(compiled.status()));
  }
  const auto read = engine::read_schema({{"row", std::string(input)}});
  // References are not followed in stored rows, so more of them are read than compiled, but never fewer.
  demand(read.ok() || !compiled.ok(), "compiles, but does not read: {}", describe(read.status()));
  if (!read.ok()) demand_refusal(read.status(), {StatusCode::kInternal});
}

}  // namespace headgate::fuzz
