#include "engine/storage/write_locks.h"

#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

std::string text_of(const WriteLocks& locks) {
  const Statement statement = locks.statement();
  return fmt::format("{} {}", statement.name, fmt::join(statement.parameters, " "));
}

std::string locks_of(const std::vector<base::v1::Tuple>& tuples, const std::string& tenant = "a") {
  WriteLocks locks(tenant);
  locks.add(tuples);
  return text_of(locks);
}

TEST_SUITE("storage/write_locks") {
  TEST_CASE("write locks: equal keys of one tenant share a lock, whatever the subject's relation") {
    const auto tuple = tuple_of("doc", "1", "owner", "x");
    CHECK(locks_of({tuple}) == locks_of({tuple, tuple_of("doc", "1", "owner", "x", "member")}));
    CHECK(locks_of({tuple}) != locks_of({tuple_of("doc", "1", "ownerx", "")}));
    CHECK(locks_of({tuple}) != locks_of({tuple}, "b"));
    CHECK(locks_of({}) == " ");
  }

  TEST_CASE("write locks: a filter that names one tuple takes that tuple's lock") {
    const std::string tenant = "a";
    base::v1::TupleFilter filter;
    filter.mutable_entity()->set_type("doc");
    filter.mutable_entity()->add_ids("1");
    filter.set_relation("owner");
    filter.mutable_subject()->set_type("user");
    filter.mutable_subject()->add_ids("x");
    WriteLocks locks(tenant);
    locks.add(filter);
    CHECK_FALSE(locks.exclusive());
    CHECK(text_of(locks) == locks_of({tuple_of("doc", "1", "owner", "x")}));
    filter.clear_relation();
    locks.add(filter);
    CHECK(locks.exclusive());
  }

  TEST_CASE("write locks: many keys lock the tenant instead") {
    const std::string tenant = "a";
    WriteLocks locks(tenant);
    std::vector<base::v1::Tuple> tuples;
    for (int i = 0; i < 64; ++i) tuples.push_back(tuple_of("doc", std::to_string(i), "owner", "x"));
    locks.add(tuples);
    CHECK_FALSE(locks.exclusive());
    locks.add(std::vector{attribute_of<base::v1::BooleanValue>("1", "public", true)});
    CHECK(locks.exclusive());
    CHECK(text_of(locks) == fmt::format("headgate_lock_tenant {}", tenant_lock(tenant)));
  }
}

}  // namespace
}  // namespace headgate::engine
