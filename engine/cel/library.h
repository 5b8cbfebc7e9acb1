// The standard functions: names, overloads and their types.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cel/types.h"

namespace headgate::engine::cel {

// The signature in one letter per type: b bool, i int, u uint, d double, s string, y bytes, t timestamp, r duration,
// Lx list of x, Mxy map, Tx the type of x, A and B any type, the same wherever they stand, * dyn.
// "s.s>b" is a method of a string with a string that gives a bool; "ii>b" is a function.
struct Overload {
  std::string id;
  std::string signature;
  bool mixes_numbers = false;  // compares numbers of two types
};

// Empty when there is no such function. In the order in which they are tried.
std::span<const Overload> overloads_of(std::string_view function);

// A signature with fresh variables. REQUIRES: one of ours.
struct Signature {
  bool method = false;
  std::vector<TypeRef> arguments;  // the target of a method first
  TypeRef result = nullptr;
};
Signature instantiate(const Overload& overload, Types& types);

}  // namespace headgate::engine::cel
