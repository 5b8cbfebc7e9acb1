// What the documentation tells operators to type, so that a test can type just that.
#pragma once

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace headgate::testing {

// The lines between ```<tag> and ```. Throws std::runtime_error when the file has no such block.
inline std::string block_of(const std::string& path, const std::string& tag) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str(), begin = "\n```" + tag + "\n";
  const size_t at = all.find(begin);
  if (at == std::string::npos) throw std::runtime_error(path + " has no block '" + tag + "'");
  const size_t from = at + begin.size();
  return all.substr(from, all.find("```", from) - from);
}

// All occurrences.
inline std::string with(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
  return text;
}

}  // namespace headgate::testing
