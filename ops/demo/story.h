// A small world that looks like real use: three companies that share documents.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/demo/engine_client.h"

namespace headgate::demo {

extern const char* const kSchema;

// (id, name) of the tenants.
const std::vector<std::pair<std::string, std::string>>& tenants();

// Who belongs where, before anything is shared: one step for each tenant.
std::vector<Step> first_steps();

// Documents are created, shared, published and revoked for ever; every step changes something.
class Story {
 public:
  Step next();

 private:
  int number_ = 0;
};

}  // namespace headgate::demo
