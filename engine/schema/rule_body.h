// The text between the braces of a rule.
//
// Permify keeps a rule as the words between the braces, and loses some of them on the way: the last word when it
// touches the closing brace, quotes of "texts", marks of comments, bytes outside ASCII. A stored rule must mean the
// same to both programs, so such things are refused or rewritten here before they are stored.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/schema/source.h"

namespace headgate::engine {

struct RuleBody {
  // What the expression compiler gets, and what is stored.
  std::string text;

  // Runs of `text` and where they stand in the source, ascending.
  struct Origin {
    size_t begin = 0;
    size_t source_offset = 0;
    bool verbatim = true;  // a rewritten text has one place only: its begin
  };
  std::vector<Origin> origins;
  const Source* source = nullptr;

  Place place_of(size_t offset) const;
};

struct ScannedBody {
  RuleBody body;
  size_t end = 0;  // of the source, behind the closing brace
};

// Reads from behind the opening brace. Sets `fault` when nothing is returned.
std::optional<ScannedBody> scan_rule_body(const Source& source, size_t offset, Fault& fault);

}  // namespace headgate::engine
