// All targets, for programs that run them without libFuzzer. The table is made by CMake from the *_fuzzer.cc files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace headgate::fuzz {

struct Target {
  std::string name;
  void (*function)(std::string_view input);
};
const std::vector<Target>& targets();

}  // namespace headgate::fuzz
