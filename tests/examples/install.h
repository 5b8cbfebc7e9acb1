// What an example needs beside this tree, fetched by the ordinary clients of the package registries: once for each lock
// file, into the build folder, in bounded time.
#pragma once

#include <string>
#include <vector>

namespace headgate::testing {

// An example that can be started: its command, to which options are added. Without a command `missing` says why.
struct Installed {
  std::vector<std::string> command;
  std::string missing;
};

// `source` is a folder of the tree, relative to its root; its files are copied, so that nothing is written beside them.
Installed install_python(const std::string& source, const std::string& program);  // requirements.txt
Installed install_node(const std::string& source, const std::string& program);    // package-lock.json
Installed install_go(const std::string& source);                                  // go.sum

}  // namespace headgate::testing
