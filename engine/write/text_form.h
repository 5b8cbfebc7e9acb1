// The text of a tuple and of an attribute, as bundles spell them, and the templates that produce it.
//
//   tuple      type:id#relation@type:id[#relation]
//   attribute  type:id$name|valuetype:value      valuetype: boolean, string, integer, double, or one of them with []
//   template   any text with {{.argument}} in it
//
// Pure functions. Errors are INVALID_ARGUMENT with a text for people.
#pragma once

#include <google/protobuf/map.h>

#include <string>
#include <string_view>

#include "base/status.h"
#include "base/v1/base.pb.h"

namespace headgate::engine {

// Blanks around the text are ignored. An id cannot contain '@', ':' or '#'. Without "#relation" the relation is empty.
StatusOr<base::v1::Tuple> parse_tuple(std::string_view text);
// A value cannot be empty nor contain ':' or '|'; elements of a list are separated by commas.
StatusOr<base::v1::Attribute> parse_attribute(std::string_view text);

std::string format_tuple(const base::v1::Tuple& tuple);

// Replaces each {{.name}} by its argument, or by nothing when there is none of that name. Values are inserted as they
// are. Any other action between {{ and }} is an error. What is made is taken off `bytes_left`; RESOURCE_EXHAUSTED, and
// no more memory is used than that, when it does not fit.
StatusOr<std::string> render_template(std::string_view text,
                                      const google::protobuf::Map<std::string, std::string>& arguments,
                                      size_t& bytes_left);

}  // namespace headgate::engine
