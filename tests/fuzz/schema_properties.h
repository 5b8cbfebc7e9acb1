// What must hold of a schema that was accepted.
#pragma once

#include "engine/schema/schema.h"

namespace headgate::fuzz {

// The rows read back to the definition in any order and one by one; as one text they compile to the same schema, and
// from then on to the same bytes.
void demand_sound(const engine::CompiledSchema& compiled);

}  // namespace headgate::fuzz
