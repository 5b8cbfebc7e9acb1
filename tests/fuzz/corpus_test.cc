// Every target over its corpus and over what fuzzing has found, as an ordinary test.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "tests/fuzz/properties.h"
#include "tests/fuzz/targets.h"
#include "tests/support/test_main.h"

namespace headgate::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string content_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

// "" or what is wrong. The bytes are copied to the heap without anything behind them, so that a sanitizer sees a read
// past their end.
std::string run(const Target& target, const std::string& bytes) {
  const std::vector<char> exact(bytes.begin(), bytes.end());
  try {
    target.function({exact.data(), exact.size()});
    return "";
  } catch (const Violation& violation) {
    return violation.what();
  }
}

// Each file, and the file cut off in the middle and without its first byte.
void run_folder(const Target& target, const fs::path& folder, size_t& count) {
  for (const fs::path& path : files_in(folder)) {
    CAPTURE(path.string());
    const std::string bytes = content_of(path);
    CHECK(run(target, bytes) == "");
    CHECK(run(target, bytes.substr(0, bytes.size() / 2)) == "");
    CHECK(run(target, bytes.empty() ? bytes : bytes.substr(1)) == "");
    ++count;
  }
}

}  // namespace

TEST_SUITE("tests/fuzz") {
  TEST_CASE("fuzz: the corpora and the finds hold every property") {
    be_quiet();
    const fs::path root(HEADGATE_FUZZ_DIR);
    for (const Target& target : targets()) {
      CAPTURE(target.name);
      size_t count = 0;
      run_folder(target, root / "corpus" / target.name, count);
      CHECK(count > 0);
      run_folder(target, root / "finds" / target.name, count);
      CHECK(run(target, "") == "");
    }
  }

  TEST_CASE("fuzz: every corpus and every find belongs to a target") {
    for (const char* kind : {"corpus", "finds"}) {
      for (const auto& entry : fs::directory_iterator(fs::path(HEADGATE_FUZZ_DIR) / kind)) {
        const std::string name = entry.path().filename();
        CAPTURE(name);
        const auto& all = targets();
        CHECK(std::any_of(all.begin(), all.end(), [&](const Target& target) { return target.name == name; }));
      }
    }
  }
}

}  // namespace headgate::fuzz
