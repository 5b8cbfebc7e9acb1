// has, all, exists, exists_one, map and filter: calls that stand for larger expressions.
#pragma once

#include "engine/cel/parser.h"

namespace headgate::engine::cel {

enum class Expansion { kNone, kDone, kFailed };

struct MacroCall {
  std::string_view function;
  size_t offset = 0;  // of the parenthesis: the place of everything new
  std::optional<Expr> target;
  std::vector<Expr> arguments;
};

// kNone leaves `call` as it is. kDone moves its parts into `out`.
Expansion expand(MacroCall& call, Ids& ids, Expr& out, Problem& problem);

}  // namespace headgate::engine::cel
