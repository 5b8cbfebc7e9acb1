// Lists, maps and files as the text of one value, for the loader of settings. Errors are INVALID_ARGUMENT and say what
// the text should be.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace headgate {

// `["a", "b,c"]` as in YAML, or plain words with commas between them.
StatusOr<std::vector<std::string>> list_of_text(const std::string& text);
// `{name: "a,b"}` as in YAML, or plain name=value with commas between them.
StatusOr<std::map<std::string, std::string>> map_of_text(const std::string& text);
// All of a file, without the ends of line behind it.
StatusOr<std::string> text_of_file(const std::string& path);
// Whether the file can be read; an empty path stands for none.
Status check_readable(const std::string& path);
// The lines of a text, without blank ones and the blanks around them.
std::vector<std::string> split_trimmed(const std::string& text, char separator);

}  // namespace headgate
