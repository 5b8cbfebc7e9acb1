// The tree of a compiled expression. Of this folder only.
#pragma once

#include <re2/re2.h>

#include <deque>

#include "engine/cel/heap.h"
#include "engine/cel/program.h"

namespace headgate::engine::cel {

enum class Operation : uint8_t {
  kConstant,
  kVariable,
  kUnknownName,
  kUnknownFunction,
  kSelect,
  kHas,
  kNot,
  kAnd,
  kOr,
  kChoice,
  kBinary,
  kCall,
  kMatches,
  kList,
  kMap,
  kAll,
  kExists,
  kExistsOne,
  kCollect,
};

// What a function of the library does with values that are no errors. REQUIRES: as many arguments as its overloads
// take.
using Function = Value (*)(Heap& heap, std::span<const Value> arguments);

struct Step {
  Operation operation = Operation::kConstant;
  uint32_t slot = 0;                  // of a variable, or of the variable of a loop
  Value constant;                     // the value, or the name of a field, variable or function
  const Step* a = nullptr;            // operands; of a loop: what it goes through,
  const Step* b = nullptr;            // its condition,
  const Step* c = nullptr;            // and what it collects
  std::span<const Step* const> more;  // elements, entries or arguments
  Function function = nullptr;
  const re2::RE2* pattern = nullptr;
};

struct Program::Parts {
  std::deque<Step> steps;
  std::deque<std::vector<const Step*>> lists;
  std::deque<std::string> texts;
  std::deque<std::vector<Value>> values;
  std::deque<re2::RE2> patterns;
};

}  // namespace headgate::engine::cel
