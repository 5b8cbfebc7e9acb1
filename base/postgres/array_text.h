// The text of a PostgreSQL array, for a parameter or between quotes: {"a","b"}. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace headgate {

std::string array_text(std::span<const std::string> items);
std::string array_text(std::span<const uint64_t> items);

}  // namespace headgate
