// Cuts one input into the values a target needs. Everything is text, so that a corpus can be read and written by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headgate::fuzz {

// Hands out the lines of an input, then what is left. An input that is too short goes on as empty lines.
class Input {
 public:
  explicit Input(std::string_view text) : rest_(text) {}

  // Without its line feed.
  std::string_view line();
  // A line as a number; 0 when it is none.
  uint64_t number();
  std::string_view rest() const { return rest_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

// What stands in front of the first line "%%", and what stands behind it. Without such a line everything is behind it.
std::pair<std::string_view, std::string_view> split_at_mark(std::string_view input);

// A part of an input that begins with a line "%% heading"; what stands before the first one has no heading.
struct Part {
  std::string_view heading;
  std::string_view text;
};
std::vector<Part> parts_of(std::string_view input);

bool is_utf8(std::string_view text);

}  // namespace headgate::fuzz
