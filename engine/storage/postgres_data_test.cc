#include <thread>

#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

using base::v1::Attribute;
using base::v1::AttributeFilter;
using base::v1::TupleFilter;

std::string values_of(const StorageFixture& fixture, const SnapToken& at) {
  const auto page = fixture.store.reader->attributes("a", at, {}, {.size = 100, .continuous_token = ""});
  if (!page.ok()) return describe(page.status());
  std::string text;
  for (const Attribute& attribute : page->items) text += attribute.attribute() + "=" + attribute.value().value() + ";";
  return text;
}

TEST_SUITE("storage/data") {
  TEST_CASE("write: a tuple is read back at its token and at head, in the order of the request") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    CHECK(fixture.store.reader->head("a")->form == SnapToken::Form::kLegacy);
    CHECK(fixture.store.reader->head("a")->xid == 0);
    CHECK(read_head(fixture, "a") == "");
    const auto token = fixture.store.writer->write(
        "a",
        {tuple_of("doc", "3", "owner", "x"), tuple_of("doc", "1", "owner", "q\"\\,{}'"), tuple_of("doc", "2", "o", "")},
        {});
    REQUIRE(token.ok());
    CHECK(read_names(fixture, "a", *token) == "3#owner@x 1#owner@q\"\\,{}' 2#o@");
    CHECK(read_head(fixture, "a") == read_names(fixture, "a", *token));
    CHECK(read_head(fixture, "b") == "");
    CHECK(fixture.store.reader->head("a")->is_position());
  }

  TEST_CASE("write: every token keeps showing its own state") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    DataWriter& writer = *fixture.store.writer;
    const auto first = *writer.write("a", {tuple_of("doc", "1", "owner", "x")}, {});
    TupleFilter filter;
    filter.mutable_entity()->set_type("doc");
    const auto second = *writer.remove("a", filter, {});
    const auto third = *writer.write("a", {tuple_of("doc", "1", "owner", "x"), tuple_of("doc", "2", "owner", "y")}, {});
    const auto fourth = *writer.write("a", {tuple_of("doc", "2", "owner", "y")}, {});
    CHECK(read_names(fixture, "a", first) == "1#owner@x");
    CHECK(read_names(fixture, "a", second) == "");
    CHECK(read_names(fixture, "a", third) == "1#owner@x 2#owner@y");
    CHECK(read_names(fixture, "a", fourth) == "1#owner@x 2#owner@y");
    // Legacy tokens of the same transactions, as Watch gives them, mean the same states.
    CHECK(read_names(fixture, "a", {SnapToken::Form::kLegacy, first.xid, {}}) == "1#owner@x");
    CHECK(read_names(fixture, "a", {SnapToken::Form::kLegacy, second.xid, {}}) == "");
    CHECK(database->execute("SELECT count(*) FROM transactions") == "4");
    CHECK(database->execute("SELECT count(*) FROM relation_tuples") == "3");
  }

  TEST_CASE("write: an attribute is overwritten, the old value stays readable at the old token") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    DataWriter& writer = *fixture.store.writer;
    const auto first = *writer.write("a", {}, {attribute_of<base::v1::StringValue>("1", "s", "old")});
    const auto second = *writer.write("a", {}, {attribute_of<base::v1::StringValue>("1", "s", "new")});
    CHECK(values_of(fixture, first) == "s=\n\x03old;");
    CHECK(values_of(fixture, second) == "s=\n\x03new;");
    AttributeFilter filter;
    filter.add_attributes("s");
    const auto third = *writer.remove("a", {}, filter);
    CHECK(values_of(fixture, third) == "");
    CHECK(values_of(fixture, second) == "s=\n\x03new;");
  }

  TEST_CASE("write: attribute values of every type and their extremes come back exactly") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    base::v1::BooleanArrayValue booleans;
    booleans.add_data(true);
    booleans.add_data(false);
    base::v1::StringArrayValue strings;
    strings.add_data("");
    strings.add_data("ünï 汉 \" \\ <&>");
    base::v1::IntegerArrayValue integers;
    integers.add_data(INT32_MIN);
    integers.add_data(0);
    base::v1::DoubleArrayValue doubles;
    for (const double d : {0.1, 1e308, 5e-324, 1e-320, 123456789012345678.0, -2.5}) doubles.add_data(d);
    std::vector<Attribute> attributes = {attribute_of<base::v1::BooleanValue>("1", "b", true),
                                         attribute_of<base::v1::BooleanValue>("1", "b0", false),
                                         attribute_of<base::v1::StringValue>("1", "s", std::string(300, 'x') + "\"\\"),
                                         attribute_of<base::v1::StringValue>("1", "s0", ""),
                                         attribute_of<base::v1::IntegerValue>("1", "i", INT32_MAX),
                                         attribute_of<base::v1::DoubleValue>("1", "d", -1e-300),
                                         attribute_of<base::v1::DoubleValue>("1", "inf", HUGE_VAL),
                                         attribute_of<base::v1::DoubleValue>("1", "nan", std::nan("")),
                                         attribute_of<base::v1::BooleanValue>("1", "bs", true),
                                         attribute_of<base::v1::BooleanValue>("1", "ss", true),
                                         attribute_of<base::v1::BooleanValue>("1", "is", true),
                                         attribute_of<base::v1::BooleanValue>("1", "ds", true),
                                         attribute_of<base::v1::BooleanValue>("1", "empty", true)};
    attributes[8].mutable_value()->PackFrom(booleans);
    attributes[9].mutable_value()->PackFrom(strings);
    attributes[10].mutable_value()->PackFrom(integers);
    attributes[11].mutable_value()->PackFrom(doubles);
    attributes[12].mutable_value()->PackFrom(base::v1::IntegerArrayValue());
    const auto token = fixture.store.writer->write("a", {}, attributes);
    REQUIRE_MESSAGE(token.ok(), describe(token.status()));
    const auto page = fixture.store.reader->attributes("a", *token, {}, {.size = 100, .continuous_token = ""});
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    REQUIRE(page->items.size() == attributes.size());
    for (size_t i = 0; i < attributes.size(); ++i) {
      CHECK_MESSAGE(page->items[i].SerializeAsString() == attributes[i].SerializeAsString(), attributes[i].attribute());
    }
    CHECK(database->execute("SELECT value::text FROM attributes WHERE attribute = 'b0'") ==
          "{\"@type\": \"type.googleapis.com/base.v1.BooleanValue\"}");
  }

  TEST_CASE("remove: filters combine their fields, ids are alternatives, an empty subject relation matches all") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    DataWriter& writer = *fixture.store.writer;
    REQUIRE(writer
                .write("a",
                       {tuple_of("doc", "1", "owner", "x"), tuple_of("doc", "1", "viewer", "x", "member"),
                        tuple_of("doc", "2", "owner", "x"), tuple_of("doc", "3", "owner", "y")},
                       {attribute_of<base::v1::IntegerValue>("1", "n", 1)})
                .ok());
    TupleFilter filter;
    filter.mutable_entity()->add_ids("1");
    filter.mutable_entity()->add_ids("3");
    filter.mutable_subject()->add_ids("x");
    REQUIRE(writer.remove("a", filter, {}).ok());
    CHECK(read_head(fixture, "a") == "2#owner@x 3#owner@y");
    CHECK(values_of(fixture, *fixture.store.reader->head("a")) == "n=\b\x01;");
  }

  TEST_CASE("remove: a deletion that could not end in time is refused before it locks or changes anything") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database, {.deletion_rows_max = 3});
    DataWriter& writer = *fixture.store.writer;
    std::vector<base::v1::Tuple> tuples;
    for (const char* id : {"1", "2", "3", "4"}) tuples.push_back(tuple_of("doc", id, "owner", "x"));
    REQUIRE(writer.write("a", tuples, {}).ok());
    TupleFilter all;
    all.mutable_entity()->set_type("doc");
    const std::string before = database->execute("SELECT max(id::text::bigint) FROM transactions");
    const auto refused = writer.remove("a", all, {});
    CHECK(message_of(refused.status()).starts_with("ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED: the filter matches more"));
    CHECK(read_head(fixture, "a") == "1#owner@x 2#owner@x 3#owner@x 4#owner@x");
    CHECK(database->execute("SELECT max(id::text::bigint) FROM transactions") == before);
    // Named one by one they are a write like others.
    TupleFilter named = all;
    named.set_relation("owner");
    named.mutable_subject()->set_type("user");
    named.mutable_subject()->add_ids("x");
    for (const char* id : {"1", "2", "3", "4"}) named.mutable_entity()->add_ids(id);
    CHECK(writer.remove("a", named, {}).ok());
    REQUIRE(writer.write("a", {tuple_of("doc", "5", "owner", "x")}, {}).ok());
    CHECK(writer.remove("a", all, {}).ok());
    CHECK(read_head(fixture, "a") == "");
  }

  TEST_CASE("run: the steps of a bundle happen in order within one transaction") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database, {.retries_max = 1});
    BundleStep first;
    first.tuples_write = {tuple_of("doc", "1", "owner", "x"), tuple_of("doc", "2", "owner", "x")};
    first.attributes_write = {attribute_of<base::v1::IntegerValue>("1", "n", 1)};
    BundleStep second;
    second.tuples_delete = {tuple_of("doc", "1", "owner", "x")};
    second.attributes_delete = {attribute_of<base::v1::IntegerValue>("1", "n", 7)};
    const auto token = fixture.store.writer->run("a", {first, second});
    REQUIRE_MESSAGE(token.ok(), describe(token.status()));
    CHECK(read_names(fixture, "a", *token) == "2#owner@x");
    CHECK(values_of(fixture, *token) == "");
    CHECK(database->execute("SELECT count(*) FROM transactions") == "1");
  }

  TEST_CASE("run: a bundle that expires one key twice gives up after its retries and changes nothing") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database, {.retries_max = 2, .retry_pause = {.initial = Duration(1), .max = Duration(1)}});
    REQUIRE(fixture.store.writer->write("a", {tuple_of("doc", "1", "owner", "x")}, {}).ok());
    BundleStep remove;
    remove.tuples_delete = {tuple_of("doc", "1", "owner", "x")};
    BundleStep write;
    write.tuples_write = remove.tuples_delete;
    const auto token = fixture.store.writer->run("a", {remove, write, remove});
    CHECK(message_of(token.status()) == "ERROR_CODE_ERROR_MAX_RETRIES");
    CHECK(read_head(fixture, "a") == "1#owner@x");
  }

  TEST_CASE("read: pages follow each other, and bad page tokens are refused as Permify does") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    DataReader& reader = *fixture.store.reader;
    const auto token = *fixture.store.writer->write(
        "a", {tuple_of("doc", "3", "o", "x"), tuple_of("doc", "1", "o", "x"), tuple_of("doc", "2", "o", "x")}, {});
    auto page = reader.tuples("a", token, {}, {.size = 2, .continuous_token = ""});
    REQUIRE(page.ok());
    CHECK(names_of(page->items) == "3#o@x 1#o@x");
    page = reader.tuples("a", token, {}, {.size = 2, .continuous_token = page->next});
    REQUIRE(page.ok());
    CHECK(names_of(page->items) == "2#o@x");
    CHECK(page->next.empty());
    const auto code = [&](const char* text) {
      return message_of(reader.tuples("a", token, {}, {.size = 2, .continuous_token = text}).status());
    };
    CHECK(code("%%") == "ERROR_CODE_INVALID_CONTINUOUS_TOKEN");
    CHECK(code("YWJj") == "ERROR_CODE_INVALID_CONTINUOUS_TOKEN");
    CHECK(code("LTE=") == "ERROR_CODE_INVALID_CONTINUOUS_TOKEN");
    CHECK(code("MjE0NzQ4MzY0OA==") == "ERROR_CODE_EXECUTION");
    CHECK(code("MA==") == "");
  }

  TEST_CASE("read: tokens that this database cannot answer are errors, never an empty page") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto token = *fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {});
    const PageRequest all{.size = 10, .continuous_token = ""};
    const auto code = [&](const SnapToken& at) {
      return fixture.store.reader->tuples("a", at, {}, all).status().code();
    };
    CHECK(code({SnapToken::Form::kLegacy, 3, {}}) == StatusCode::kOutOfRange);
    CHECK(code({SnapToken::Form::kLegacy, token.xid + 1'000'000, {}}) == StatusCode::kOutOfRange);
    CHECK(code(token_of_write(token.xid + 1'000'000, token.snapshot)) == StatusCode::kOutOfRange);
    CHECK(code({SnapToken::Form::kLegacy, 0, {}}) == StatusCode::kOk);
    CHECK(code(token) == StatusCode::kOk);
    database->execute(fmt::format("INSERT INTO headgate.gc_floors VALUES ('a', '{}')", token.xid + 1));
    CHECK(code(token) == StatusCode::kOk);
    database->execute(fmt::format("UPDATE headgate.gc_floors SET floor = '{}'", token.xid + 2));
    CHECK(code(token) == StatusCode::kOutOfRange);
    CHECK(fixture.store.reader->tuples("b", token, {}, all).ok());
  }

  TEST_CASE("head: covers an acknowledged write although one with a lower xid is still open") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    pqxx::connection slow(database->uri());
    pqxx::work open(slow);
    open.exec("INSERT INTO transactions (tenant_id) VALUES ('a')");
    open.exec(
        "INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id, subject_relation, "
        "tenant_id)"
        " VALUES ('doc', 'slow', 'o', 'user', 'x', '', 'a')");
    const auto written = *fixture.store.writer->write("a", {tuple_of("doc", "fast", "o", "x")}, {});
    const auto before = *fixture.store.reader->head("a");
    CHECK(read_names(fixture, "a", before) == "fast#o@x");
    open.commit();
    // The new head covers both, and the tokens from before still mean what they meant.
    CHECK(read_head(fixture, "a") == "slow#o@x fast#o@x");
    CHECK(read_names(fixture, "a", before) == "fast#o@x");
    CHECK(read_names(fixture, "a", written) == "fast#o@x");
  }

  TEST_CASE("head: does not change while other tenants are written to") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {}).ok());
    const auto head = *fixture.store.reader->head("a");
    REQUIRE(fixture.store.writer->write("b", {tuple_of("doc", "1", "o", "x")}, {}).ok());
    CHECK(*fixture.store.reader->head("a") == head);
  }
}

}  // namespace
}  // namespace headgate::engine
