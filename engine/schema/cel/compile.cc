#include "engine/schema/cel/compile.h"

namespace headgate::engine::cel {

std::optional<CheckedExpr> compile(std::string_view, const std::vector<Variable>&, Problem& problem) {
  problem = {0, false, "rules cannot be compiled yet"};
  return std::nullopt;
}

std::string describe(const Type& type) { return type.ShortDebugString(); }

const Type& result_type(const CheckedExpr& checked) { return checked.type_map().at(checked.expr().id()); }

}  // namespace headgate::engine::cel
