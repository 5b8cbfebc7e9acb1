// As read_plans_test, of the statements with which checks read.
#include "engine/storage/batch_reader.h"
#include "engine/storage/head_reader.h"
#include "engine/storage/read_plans_fixture.h"

namespace headgate::engine {
namespace {

struct Batch {
  const char* name;
  BatchQuery query;
};

std::vector<Batch> batches() {
  const RelationKey heavy{"organization", "heavy", "member"}, expired{"doc", "expired", "viewer"},
      one{"doc", "e7", "owner"};
  std::vector<Batch> all;
  const auto add = [&](const char* name) -> BatchQuery& { return all.emplace_back(Batch{name, {}}).query; };
  add("tuples of a heavy entity").tuples = {{heavy, "user", "s7", ""}, {heavy, "user", "nobody", ""}};
  add("a tuple that expired").tuples = {{expired, "user", "s7", ""}};
  add("a tuple of a heavy subject").tuples = {{{"folder", "e7", "parent"}, "organization", "heavy", ""},
                                              {{"folder", "none", "parent"}, "organization", "heavy", ""}};
  add("sets of a heavy entity").usersets = {heavy, one};
  add("sets of an entity whose rows have expired").usersets = {expired};
  add("subjects of an entity").subjects = {one, {"folder", "e7", "parent"}, {"doc", "none", "owner"}};
  add("attributes").attributes = {{"doc", "e3", "a1"}, {"doc", "e3", "none"}, {"doc", "none", "a1"}};
  add("entities of a subject").entities = {{"user", "s7", "", "doc", "owner"}, {"user", "none", "", "doc", "owner"}};
  add("entities of a heavy subject that has none of a type").entities = {
      {"organization", "heavy", "", "doc", "parent"}, {"organization", "heavy", "member", "folder", "parent"}};
  add("entities of a subject behind an arrow").entities = {{"user", "s7", "", "doc", "owner", true}};
  BatchQuery& many = add("many of all");
  for (int i = 0; i < 300; ++i) {
    const std::string id = "e" + std::to_string(i), subject = "s" + std::to_string(i);
    many.tuples.push_back({{"doc", id, "owner"}, "user", subject, ""});
    many.usersets.push_back({"doc", id, "owner"});
    many.subjects.push_back({"folder", id, "parent"});
    many.attributes.push_back({"doc", id, "a0"});
    many.entities.push_back({"user", subject, "", "doc", "owner"});
  }
  return all;
}

size_t rows_of(const BatchQuery& query, const BatchAnswer& answer) {
  size_t rows = static_cast<size_t>(std::ranges::count(answer.tuples, true));
  for (const auto& one : answer.usersets) rows += one.size();
  for (const auto& one : answer.subjects) rows += one.size();
  for (const auto& one : answer.entities) rows += one.size();
  // Each question costs a walk down an index, whether there is something or not.
  return rows + (query.tuples.size() + query.usersets.size() + query.subjects.size() + query.attributes.size() +
                 query.entities.size()) /
                    2;
}

void check_batches(World& world, const SnapToken& at, const std::string& when) {
  const auto reader = make_batch_reader(world.pool);
  for (const Batch& one : batches()) {
    world.check(fmt::format("{}, {}", one.name, when), [&] {
      const auto answer = reader->read("huge", at, one.query, {});
      REQUIRE_MESSAGE(answer.ok(), describe(answer.status()));
      return rows_of(one.query, *answer);
    });
  }
  const auto ids = [&](const KnownIds& which) {
    world.check(fmt::format("ids of {}, {}", which.type, when), [&] {
      const auto known = reader->known_ids("huge", at, which, {.rows_max = 1'000'000});
      REQUIRE_MESSAGE(known.ok(), describe(known.status()));
      return known->size();
    });
  };
  ids({"organization", false, ""});
  ids({"rare", false, ""});
  ids({"organization", true, ""});
  const auto heads = make_head_reader(world.pool);
  const std::string tenants[] = {"huge", "small", "none"};
  world.check("heads, " + when, [&] { return heads->read(tenants)->versions.size(); });
}

TEST_SUITE("storage/batch_plans") {
  TEST_CASE("batch plans: a check reads what it asks for, with statistics of another time and with fresh ones") {
    HG_OWN_POSTGRES(database);
    World world(*database);
    for (const char* statistics : {"stale", "fresh"}) {
      if (std::string(statistics) == "fresh") database->execute("ANALYZE");
      const auto head = world.store.reader->head("huge");
      REQUIRE(head.ok());
      check_batches(world, *head, fmt::format("at the head, {} statistics", statistics));
      SnapToken holes = *head;
      holes.snapshot.in_progress = {holes.xid - 3, holes.xid - 1};
      holes.snapshot.xmin = holes.xid - 3;
      check_batches(world, holes, fmt::format("at a token with holes, {} statistics", statistics));
    }
  }
}

}  // namespace
}  // namespace headgate::engine
