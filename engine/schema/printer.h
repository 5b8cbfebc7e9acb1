// Tree to the text that is stored.
#pragma once

#include <string>

#include "engine/schema/tree.h"

namespace headgate::engine {

// Reading the text and printing it again gives the same statement; a rule may gain one empty line the first time, and
// none after that. Every operation stands in parentheses, so that the order of evaluation is plain to see.
std::string print(const Entity& entity);
std::string print(const Rule& rule);

}  // namespace headgate::engine
