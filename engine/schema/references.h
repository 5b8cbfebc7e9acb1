// Checks that names of a schema refer to something that fits.
#pragma once

#include "engine/schema/names.h"

namespace headgate::engine {

// False and a fault for the first thing wrong: relation types first, then permissions, in the order of the text.
bool check_references(const Schema& schema, const Names& names, Fault& fault);

}  // namespace headgate::engine
