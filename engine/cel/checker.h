// Gives every part of an expression its type, and every name what it refers to.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/cel/parser.h"
#include "engine/cel/types.h"

namespace headgate::engine::cel {

class Checker {
 public:
  Checker(const std::vector<Variable>& variables, const Ids& ids);

  // Fills reference_map and type_map. Rewrites names in the tree to what they refer to. False when something does not
  // fit; see problem().
  bool run(Expr& expr, CheckedExpr& out);

  const Problem& problem() const { return problem_; }

 private:
  struct Found {
    std::string name;
    TypeRef type = nullptr;
    std::optional<int64_t> constant;
  };

  TypeRef fail(const Expr& at, std::string text);
  TypeRef fail_mismatch(const Expr& at, std::string_view function, bool method, const std::vector<TypeRef>& arguments);
  TypeRef set(const Expr& expr, TypeRef type);

  // The type, or null after a failure.
  TypeRef check(Expr& expr);
  TypeRef check_constant(const Expr& expr);
  TypeRef check_name(Expr& expr);
  TypeRef check_select(Expr& expr);
  TypeRef check_call(Expr& expr);
  TypeRef resolve_overloads(const Expr& expr, const std::vector<TypeRef>& arguments);
  TypeRef check_logic(const Expr& expr, const std::vector<TypeRef>& arguments);
  TypeRef check_list(Expr& expr);
  TypeRef check_map(Expr& expr);
  // The type of a list that holds both; the first one may be null.
  TypeRef join(TypeRef before, TypeRef type);
  TypeRef check_comprehension(Expr& expr);
  TypeRef range_element(const Expr& range, TypeRef type);

  std::optional<Found> find(std::string_view name);
  std::optional<Found> find_type_name(std::string_view name);
  void refer(Expr& expr, Found found);
  bool finish(CheckedExpr& out);

  const Ids& ids_;
  Types types_;
  std::unordered_map<std::string, TypeRef> variables_;   // of the rule
  std::vector<std::pair<std::string, TypeRef>> scopes_;  // of the loops around
  bool mixes_numbers_ = false;
  std::vector<std::pair<int64_t, TypeRef>> type_of_;
  std::unordered_map<int64_t, google::api::expr::v1alpha1::Reference> references_;
  Problem problem_;
};

}  // namespace headgate::engine::cel
