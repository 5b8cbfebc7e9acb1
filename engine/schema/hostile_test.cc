// Input made to hurt: it is refused or read in time that grows with its length.
#include <chrono>
#include <random>

#include "engine/schema/schema.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using Clock = std::chrono::steady_clock;

// Generous: a slow machine and a debug build, and still far below what quadratic work on such texts would take.
constexpr auto kLimit = std::chrono::seconds(20);

std::string repeat(std::string_view text, size_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

std::string word(size_t number) {
  std::string out = "w";
  for (; number > 0; number /= 26) out += static_cast<char>('a' + number % 26);
  return out;
}

bool compiles(std::string_view text) {
  const auto start = Clock::now();
  const bool ok = compile_schema(text).ok();
  CHECK(Clock::now() - start < kLimit);
  return ok;
}

std::string permission(std::string_view expression) {
  return fmt::format("entity user {{ relation a @user\n permission p = {} }}", expression);
}
std::string rule(std::string_view body) { return fmt::format("entity user {{}}\nrule r(b boolean) {{\n{}\n}}", body); }

}  // namespace

TEST_SUITE("engine/schema") {
  TEST_CASE("hostile: depth is bounded everywhere") {
    CHECK(compiles(permission(repeat("(", 900) + "a" + repeat(")", 900))));
    CHECK_FALSE(compiles(permission(repeat("(", 100'000) + "a" + repeat(")", 100'000))));
    CHECK_FALSE(compiles(permission(repeat("(", 100'000))));
    CHECK(compiles(permission("a" + repeat(" or a", 900))));
    CHECK_FALSE(compiles(permission("a" + repeat(" or a", 100'000))));
    CHECK_FALSE(compiles(rule(repeat("(", 100'000) + "b" + repeat(")", 100'000))));
    CHECK_FALSE(compiles(rule(repeat("[", 90'000))));
    CHECK_FALSE(compiles(rule("b" + repeat("==b", 30'000))));
    CHECK_FALSE(compiles(rule("context" + repeat(".a", 40'000) + " == 1")));
    CHECK_FALSE(compiles(rule(repeat("b?b:", 20'000) + "b")));
    CHECK(compiles(rule("b" + repeat("&&b", 30'000))));
    CHECK(compiles(rule(repeat("!", 90'000) + "b")));
  }

  TEST_CASE("hostile: expressions that print and read back stay inside of the bounds") {
    const auto compiled = compile_schema(permission("a" + repeat(" or a", 1000)));
    CHECK_MESSAGE(compiled.ok(), compiled.status().ToString());
    CHECK_FALSE(compile_schema(permission("a" + repeat(" or a", 1001))).ok());
  }

  TEST_CASE("hostile: large texts take time that grows with their length") {
    std::string relations = "entity user {}\nentity doc {\n";
    std::string arrows;
    for (size_t i = 0; i < 60'000; ++i) {
      relations += fmt::format("relation {} @doc#{}\n", word(i), word(i + 1));
      if (i % 2 == 0) arrows += fmt::format("permission p{} = {}.x\n", word(i), word(0));
    }
    CHECK_FALSE(compiles(relations + arrows + "relation " + word(60'000) + " @user\n}"));
    CHECK(compiles("entity user {}" + repeat(" junk", 500'000)));
    CHECK_FALSE(compiles(repeat("entity", 500'000)));
    CHECK_FALSE(compiles("rule r(" + repeat("a integer,", 300'000) + ") {\n true\n}"));
    CHECK(compiles("entity user {}" + repeat("/*", 1'000'000)));
    CHECK(compiles("entity user {" + repeat("{", 2'000'000) + "}"));
    CHECK_FALSE(compiles("rule r() {\n" + repeat("'", 2'000'000)));
    CHECK_FALSE(compiles("rule r() {\n" + repeat("'''", 700'000)));
    CHECK_FALSE(compiles(rule(repeat("[[[[[[[[1]]]]]]]],", 5000))));
    std::string rules = "entity user {}\n";
    for (size_t i = 0; i < 80; ++i)
      rules += fmt::format("rule {}() {{\n true{}\n}}\n", word(i), repeat("&&true", 8000));
    CHECK_FALSE(compiles(rules));
  }

  TEST_CASE("hostile: broken schemas are the caller's fault, and what is accepted reads back") {
    constexpr std::string_view kText =
        "entity user {}\nentity doc {\n relation a @user @doc#a\n attribute n integer\n attribute s string[]\n"
        " permission p = (a or a.p) not r(n, s)\n}\n"
        "rule r(n integer, s string[]) {\n n > 1 && s.exists(x, x == 'y') || has(context.data.k) ? 'a' in s : !true\n}";
    constexpr std::string_view kPieces[] = {"{",  "}", "(",  ")", "'",       "\"",    "\n",   " ",   "//",
                                            "/*", "@", "#",  ".", "entity ", "rule ", " or ", "not", "n",
                                            "1",  "-", "&&", "[", "]",       "\\",    ";",    "\r",  "?"};
    std::mt19937 random(11);
    const auto below = [&](size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random); };
    int accepted = 0;
    for (int round = 0; round < 4000; ++round) {
      std::string text(kText);
      for (size_t change = below(3) + 1; change > 0; --change) {
        const size_t at = below(text.size());
        text.replace(at, below(3), kPieces[below(std::size(kPieces))]);
      }
      CAPTURE(text);
      const auto compiled = compile_schema(text);
      CHECK((compiled.ok() || compiled.status().code() == StatusCode::kInvalidArgument));
      if (!compiled.ok()) continue;
      ++accepted;
      std::string stored;
      for (const SchemaRow& row : compiled->rows) stored += row.text;
      const auto again = compile_schema(stored);
      CHECK_MESSAGE(again.ok(), again.status().ToString());
    }
    CHECK(accepted > 100);
  }

  TEST_CASE("hostile: texts that are no UTF-8 or hold a zero byte are refused") {
    const std::string zero = std::string("entity user {}\n\0entity", 22);
    CHECK(message_of(compile_schema(zero).status()) ==
          "ERROR_CODE_SCHEMA_PARSE: 2:1: the text is not UTF-8, or holds a zero byte");
    for (const std::string_view bad : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
      CHECK_FALSE(compile_schema(fmt::format("entity user {{}} // {}", bad)).ok());
    }
    CHECK(compile_schema("\xEF\xBB\xBF"
                         "entity user {} // é€😀")
              .ok());
  }
}

}  // namespace headgate::engine
