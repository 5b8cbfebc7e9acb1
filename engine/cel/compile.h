// The expression language of rules: CEL, https://github.com/google/cel-spec, with its standard functions and macros.
//
// Message literals are not read; map literals are, though no rule can hold one: its body ends at the first closing
// brace. Everything else gives the same checked expression as cel-go 0.29: ids, references, types and positions.
#pragma once

#include <google/api/expr/v1alpha1/checked.pb.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace headgate::engine::cel {

using CheckedExpr = google::api::expr::v1alpha1::CheckedExpr;
using Type = google::api::expr::v1alpha1::Type;

struct Variable {
  std::string name;
  Type type;
};

struct Problem {
  size_t offset = 0;  // bytes
  bool syntax = false;
  std::string text;
};

// Sets `problem` when nothing is returned. The text is well-formed UTF-8. Linear in the text; nesting is bounded.
std::optional<CheckedExpr> compile(std::string_view text, const std::vector<Variable>& variables, Problem& problem);

// "int", "list(string)", "dyn".
std::string describe(const Type& type);

// The type of the whole expression. REQUIRES: made by compile.
const Type& result_type(const CheckedExpr& checked);

}  // namespace headgate::engine::cel
