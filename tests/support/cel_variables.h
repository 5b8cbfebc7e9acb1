// The variables that the recorded expressions of tests/cases/cel were checked with: `context`, and for int, string,
// bool and double one value (n, s, b, d) and one list (ns, ss, bs, ds).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/cel/compile.h"

namespace headgate::testing {

inline std::vector<engine::cel::Variable> cel_variables() {
  using engine::cel::Type;
  std::vector<engine::cel::Variable> all;
  Type type;
  type.mutable_dyn();
  all.push_back({"context", type});
  constexpr std::pair<const char*, Type::PrimitiveType> kNames[] = {
      {"n", Type::INT64}, {"s", Type::STRING}, {"b", Type::BOOL}, {"d", Type::DOUBLE}};
  for (const auto& [name, primitive] : kNames) {
    type.set_primitive(primitive);
    all.push_back({name, type});
    Type list;
    *list.mutable_list_type()->mutable_elem_type() = type;
    all.push_back({std::string(name) + "s", list});
  }
  return all;
}

}  // namespace headgate::testing
