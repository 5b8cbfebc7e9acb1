// One stored row of a schema version: an entity or a rule, as text of the schema language.
#pragma once

#include <string>

namespace headgate::engine {

struct SchemaRow {
  std::string name;
  std::string text;
};

}  // namespace headgate::engine
