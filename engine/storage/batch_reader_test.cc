#include "engine/storage/batch_reader.h"

#include "engine/storage/storage_fixture.h"
#include "tests/support/engine_session.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

base::v1::Tuple set_of(const std::string& id, const std::string& group) {
  base::v1::Tuple tuple = tuple_of("doc", id, "owner", group, "member");
  tuple.mutable_subject()->set_type("group");
  return tuple;
}

std::string ids_of(const std::vector<base::v1::Subject>& subjects) {
  std::vector<std::string> ids;
  for (const base::v1::Subject& one : subjects) {
    ids.push_back(one.id() + (one.relation().empty() ? "" : "#" + one.relation()));
  }
  std::ranges::sort(ids);
  return fmt::format("{}", fmt::join(ids, " "));
}

const RelationKey kOwner{"doc", "1", "owner"};

BatchQuery everything() {
  BatchQuery query;
  query.tuples = {{kOwner, "user", "a", ""}, {kOwner, "user", "nobody", ""}, {kOwner, "group", "g", "member"}};
  query.usersets = {kOwner, {"doc", "2", "owner"}};
  query.subjects = {{"doc", "2", "owner"}, kOwner};
  query.attributes = {{"doc", "1", "none"}, {"doc", "1", "public"}};
  query.entities = {{"user", "a", "", "doc", "owner"},
                    {"group", "g", "member", "doc", "owner"},
                    {"group", "g", "", "doc", "owner"},
                    {"group", "g", "", "doc", "owner", true}};
  return query;
}

TEST_SUITE("storage/batch_reader") {
  TEST_CASE("batch reader: one statement answers all questions of a state, in their order") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto first = *fixture.store.writer->write(
        "t", {tuple_of("doc", "1", "owner", "a"), tuple_of("doc", "2", "owner", "a"), set_of("1", "g")},
        {attribute_of<base::v1::BooleanValue>("1", "public", true)});
    base::v1::TupleFilter filter;
    filter.mutable_entity()->set_type("doc");
    filter.mutable_entity()->add_ids("1");
    const auto second = *fixture.store.writer->remove("t", filter, {});
    const auto reader = make_batch_reader(fixture.pool);
    const auto before = reader->read("t", first, everything(), {});
    REQUIRE_MESSAGE(before.ok(), describe(before.status()));
    CHECK(before->tuples == std::vector<bool>{true, false, true});
    CHECK(ids_of(before->usersets[0]) == "g#member");
    CHECK(before->usersets[1].empty());
    CHECK(ids_of(before->subjects[0]) == "a");
    CHECK(ids_of(before->subjects[1]) == "a g#member");
    CHECK_FALSE(before->attributes[0].has_value());
    CHECK(before->attributes[1].has_value());
    CHECK(fmt::format("{}", fmt::join(before->entities[0], " ")).size() == 3);
    CHECK(before->entities[1] == std::vector<std::string>{"1"});
    CHECK(before->entities[2].empty());
    CHECK(before->entities[3] == std::vector<std::string>{"1"});
    const auto after = reader->read("t", second, everything(), {});
    REQUIRE_MESSAGE(after.ok(), describe(after.status()));
    CHECK(after->tuples == std::vector<bool>{false, false, false});
    CHECK(after->usersets[0].empty());
    CHECK(after->entities[0] == std::vector<std::string>{"2"});
    CHECK(after->attributes[1].has_value());
    const auto other = reader->read("other", second, everything(), {});
    REQUIRE(other.ok());
    CHECK(other->entities[0].empty());
    CHECK(*reader->known_ids("t", second, {"doc", false, ""}, {}) == std::vector<std::string>{"1", "2"});
    CHECK(*reader->known_ids("t", first, {"group", true, "member"}, {}) == std::vector<std::string>{"g"});
    CHECK(reader->known_ids("t", second, {"group", true, "member"}, {})->empty());
    CHECK(reader->known_ids("t", first, {"group", true, "boss"}, {})->empty());
  }

  TEST_CASE("batch reader: names with quotes and commas are names, and more than the limit is an error") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::string odd = "a\"',{}\\b";
    std::vector<base::v1::Tuple> tuples{tuple_of("doc", "1", "owner", odd)};
    for (int i = 0; i < 5; ++i) tuples.push_back(set_of("1", "g" + std::to_string(i)));
    const auto at = *fixture.store.writer->write(
        "t", tuples, {attribute_of<base::v1::StringValue>("1", "note", std::string(5'000, 'x'))});
    const auto reader = make_batch_reader(fixture.pool);
    BatchQuery query;
    query.tuples = {{kOwner, "user", odd, ""}};
    CHECK(reader->read("t", at, query, {})->tuples[0]);
    query.usersets = {kOwner};
    CHECK(reader->read("t", at, query, {.rows_max = 5}).ok());
    CHECK(reader->read("t", at, query, {.rows_max = 4}).status().code() == StatusCode::kResourceExhausted);
    query = {};
    query.attributes = {{"doc", "1", "note"}};
    CHECK(reader->read("t", at, query, {}).ok());
    CHECK(reader->read("t", at, query, {.value_bytes_max = 50}).status().code() == StatusCode::kResourceExhausted);
  }

  TEST_CASE("batch reader: a row that is no value fails what rests on it, and names it") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto at = *fixture.store.writer->write("t", {}, {attribute_of<base::v1::BooleanValue>("1", "public", true)});
    database->execute("UPDATE attributes SET value = '5'");
    BatchQuery query;
    query.attributes = {{"doc", "1", "public"}};
    const auto answer = make_batch_reader(fixture.pool)->read("t", at, query, {});
    CHECK(answer.status().code() == StatusCode::kInternal);
    CHECK(message_of(answer.status()).find("ERROR_CODE_SCAN: row 1 of attributes (doc:1$public)") == 0);
  }
}

}  // namespace
}  // namespace headgate::engine
