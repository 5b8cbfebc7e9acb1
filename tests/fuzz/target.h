// What fuzz targets are made of: one function that takes any bytes, looks for crashes and demands properties.
//
// A target neither keeps state between two inputs nor touches files, sockets or clocks, so an input alone reproduces
// what it found. <name>_fuzzer.cc defines void headgate::fuzz::<name>_target(std::string_view input); the build makes
// the list of targets from the names of these files.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate::fuzz {

// A property that does not hold. libFuzzer's adapter turns it into a crash, the corpus test into a failed case.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
void demand(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds) throw Violation(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace headgate::fuzz
