#include "base/line.h"

#include <memory>

#include "tests/support/test_main.h"

namespace headgate {
namespace {

using Item = std::unique_ptr<int>;
Item item(int value) { return std::make_unique<int>(value); }

TEST_SUITE("base/line") {
  TEST_CASE("line: keeps the order, and hands back what it has no room for") {
    Line<Item> line({.items_max = 2, .bytes_max = 100});
    CHECK_FALSE(line.push(item(1), 60).has_value());
    std::optional<Item> refused = line.push(item(2), 41);
    REQUIRE(refused.has_value());
    CHECK(**refused == 2);
    CHECK_FALSE(line.push(*std::move(refused), 40).has_value());
    CHECK(line.push(item(3), 0).has_value());
    CHECK(line.size() == 2);
    CHECK(line.bytes() == 100);
    CHECK(*line.front() == 1);
    CHECK(*line.pop() == 1);
    CHECK(*line.pop() == 2);
    CHECK(line.empty());
    CHECK(line.bytes() == 0);
  }

  TEST_CASE("line: one item of any size has room, and what is under way always") {
    Line<Item> line({.items_max = 2, .bytes_max = 100});
    CHECK_FALSE(line.push(item(1), 1'000).has_value());
    CHECK(line.push(item(2), 1).has_value());
    for (int i = 2; i < 5; ++i) line.push_always(item(i), 10);
    CHECK(line.size() == 4);
    CHECK(line.bytes() == 1'030);
  }
}

}  // namespace
}  // namespace headgate
