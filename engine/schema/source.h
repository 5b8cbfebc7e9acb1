// Where words of the schema language come from, and what is wrong with them.
//
// Trees keep views into their sources, so a source outlives every tree made from it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "base/v1/errors.pb.h"

namespace headgate::engine {

// One text as a caller gave it. The label says which one when a request holds several, for example "doc.write[0]".
struct Source {
  std::string_view text;
  std::string label;
};

struct Place {
  const Source* source = nullptr;
  size_t offset = 0;  // bytes
};

// A word together with its place.
struct Name {
  std::string_view text;
  Place place;
};

struct Fault {
  base::v1::ErrorCode code = base::v1::ERROR_CODE_SCHEMA_PARSE;
  Place place;
  std::string text;
};

// "4:12", line and column from 1; a column is one code point. CRLF, CR and LF each end one line.
std::string position_in(std::string_view text, size_t offset);

// "ERROR_CODE_SCHEMA_PARSE: 4:12: text"; with a label "ERROR_CODE_SCHEMA_PARSE: doc.write[0] 1:12: text".
Status to_status(const Fault& fault);

// The first byte that is NUL or no UTF-8, or npos.
size_t find_unreadable(std::string_view text);

}  // namespace headgate::engine
