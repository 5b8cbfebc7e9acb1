#include "base/log.h"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/support/test_main.h"

namespace headgate {
namespace {

// What `write` puts on standard error.
std::string on_stderr(const std::function<void()>& write) {
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  const int before = dup(STDERR_FILENO);
  std::fflush(stderr);
  dup2(fileno(file), STDERR_FILENO);
  write();
  std::fflush(stderr);
  dup2(before, STDERR_FILENO);
  close(before);
  std::string text(4096, '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

}  // namespace

TEST_SUITE("base/log") {
  TEST_CASE("log: a JSON record is JSON, whatever a text holds; numbers and truth values are such") {
    REQUIRE(configure_logging("info", "json"));
    const std::string line = on_stderr([] {
      log_info(
          "ev\xff"
          "ent",
          {{"bytes", "a\xff\"\\\n\x01\x7f\xc3\xa4"},
           {"count", size_t{18'446'744'073'709'551'615u}},
           {"negative", -5},
           {"ratio", 0.25},
           {"endless", std::numeric_limits<double>::infinity()},
           {"on", true},
           {"letter", 'x'},
           {"text", std::string("40")}});
    });
    REQUIRE(configure_logging("info", "text"));
    CAPTURE(line);
    const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
    REQUIRE_FALSE(record.is_discarded());
    CHECK(record["bytes"] == "a\xef\xbf\xbd\"\\\n\x01\x7f\xc3\xa4");
    CHECK(record["count"] == 18'446'744'073'709'551'615u);
    CHECK(record["negative"] == -5);
    CHECK(record["ratio"] == 0.25);
    CHECK(record["endless"] == "inf");
    CHECK(record["on"] == true);
    CHECK(record["letter"] == "x");
    CHECK(record["text"] == "40");
    CHECK(record["level"] == "info");
  }

  TEST_CASE("log: a record in text is one line, and values with blanks are quoted") {
    const std::string line = on_stderr([] { log_warn("event", {{"a", "b c\nd"}, {"n", 7}, {"empty", ""}}); });
    CAPTURE(line);
    CHECK(line.find("warning event a=\"b c\\nd\" n=7 empty=\"\"\n") != std::string::npos);
  }
}

}  // namespace headgate
