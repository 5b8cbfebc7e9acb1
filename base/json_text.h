// A text as JSON, with its quotes. What is not UTF-8 becomes U+FFFD, so that the result is JSON whatever a driver says.
#pragma once

#include <string>
#include <string_view>

namespace headgate {

void append_json_text(std::string& out, std::string_view text);

}  // namespace headgate
