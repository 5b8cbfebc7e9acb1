#include "tests/examples/install.h"

#include <filesystem>

#include "tests/support/program.h"

namespace headgate::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kBound = 150s;

std::string copy_of(const std::string& source) {
  const std::string folder = HEADGATE_EXAMPLES_FOLDER "/" + source;
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(HEADGATE_SOURCE_DIR "/" + source)) {
    if (entry.is_regular_file()) {
      fs::copy_file(entry.path(), folder + "/" + entry.path().filename().string(),
                    fs::copy_options::overwrite_existing);
    }
  }
  // What the example does not have any more would still be built.
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path path = entry.path();
    if (path.extension() == ".go" && !fs::exists(HEADGATE_SOURCE_DIR "/" + source + "/" + path.filename().string())) {
      fs::remove(path);
    }
  }
  return folder;
}

// "" when `command` has done its work in `folder`, else what it said.
std::string run(const std::string& folder, const std::vector<std::string>& command) {
  const std::string log = folder + "/install.log";
  fs::remove(log);
  std::vector<std::string> argv = {"/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", folder};
  argv.insert(argv.end(), command.begin(), command.end());
  Process process({.argv = argv, .log_file = log});
  if (!process.wait(kBound)) return command[0] + " did not end within its time:\n" + read_file(log);
  if (process.exit_code() != 0) return command[0] + " could not fetch what it needs:\n" + read_file(log);
  return "";
}

// "Python 3.11.2": what is fetched may depend on it.
std::string version_of(const std::string& program) {
  const TempFolder folder;
  Process process({.argv = {program, "--version"}, .log_file = folder.path() + "/version"});
  return process.wait(kBound) ? read_file(folder.path() + "/version") : "";
}

// The same, but not again for a lock file and a language that it was done for.
std::string once(const std::string& folder, const std::string& lock, const std::vector<std::string>& command) {
  const std::string wanted = version_of(command[0]) + read_file(folder + "/" + lock);
  if (read_file(folder + "/installed") == wanted) return "";
  std::string failed = run(folder, command);
  if (failed.empty()) write_file(folder + "/installed", wanted);
  return failed;
}

Installed absent(const std::string& source, const std::string& reason) {
  return {.command = {}, .missing = source + ": " + reason};
}

}  // namespace

Installed install_python(const std::string& source, const std::string& program) {
  if (find_program("python3").empty()) return absent(source, "no python3 on this machine");
  const std::string folder = copy_of(source);
  const std::string failed =
      once(folder, "requirements.txt",
           {"python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location",
            "--upgrade", "--target", "packages", "--requirement", "requirements.txt"});
  if (!failed.empty()) return absent(source, failed);
  return {.command = {"env", "PYTHONPATH=" + folder + "/packages", "python3", folder + "/" + program}, .missing = {}};
}

Installed install_node(const std::string& source, const std::string& program) {
  if (find_program("node").empty() || find_program("npm").empty()) return absent(source, "no node or npm here");
  const std::string folder = copy_of(source);
  const std::string failed =
      once(folder, "package-lock.json", {"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"});
  if (!failed.empty()) return absent(source, failed);
  return {.command = {"node", folder + "/" + program}, .missing = {}};
}

Installed install_go(const std::string& source) {
  if (find_program("go").empty()) return absent(source, "no go on this machine");
  const std::string folder = copy_of(source);
  // Every time: go knows by itself what has changed.
  const std::string failed = run(folder, {"go", "build", "-o", "program", "."});
  if (!failed.empty()) return absent(source, failed);
  return {.command = {folder + "/program"}, .missing = {}};
}

}  // namespace headgate::testing
