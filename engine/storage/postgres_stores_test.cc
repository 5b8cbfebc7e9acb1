#include <thread>

#include "engine/storage/schema_version.h"
#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

using base::v1::DataBundle;

TEST_SUITE("storage/tenants") {
  TEST_CASE("tenants: a tenant is created once, listed by id in pages, and removed") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    TenantStore& tenants = *fixture.store.tenants;
    for (const char* id : {"zb", "za", "zc"}) REQUIRE(tenants.create(id, "name").ok());
    CHECK(message_of(tenants.create("za", "other").status()) == "ERROR_CODE_UNIQUE_CONSTRAINT");

    auto page = tenants.list({.size = 2, .continuous_token = ""});
    REQUIRE(page.ok());
    REQUIRE(page->items.size() == 2);
    CHECK(page->items[0].id() == "t1");
    CHECK(page->items[1].id() == "za");
    CHECK(page->items[1].created_at().seconds() > 1'700'000'000);
    page = tenants.list({.size = 2, .continuous_token = page->next});
    REQUIRE(page.ok());
    CHECK(page->items.size() == 2);
    CHECK(page->next.empty());

    CHECK(tenants.remove("za").ok());
    CHECK(message_of(tenants.remove("za")) == "ERROR_CODE_NOT_FOUND");
  }

  TEST_CASE("tenants: a page of size zero is empty and tells whether there is more") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto page = fixture.store.tenants->list({.size = 0, .continuous_token = ""});
    REQUIRE(page.ok());
    CHECK(page->items.empty());
    CHECK_FALSE(page->next.empty());
    CHECK(message_of(fixture.store.tenants->list({.size = 5, .continuous_token = "!!!"}).status()) ==
          "ERROR_CODE_INVALID_CONTINUOUS_TOKEN");
  }

  TEST_CASE("tenants: removing takes all data, and tokens of the removed history are refused") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.tenants->create("a", "a").ok());
    const auto token = fixture.store.writer->write("a", {tuple_of("doc", "1", "owner", "x")}, {});
    REQUIRE(token.ok());
    REQUIRE(fixture.store.writer->write("b", {tuple_of("doc", "1", "owner", "y")}, {}).ok());
    REQUIRE(fixture.store.schemas->write("a", {{"user", "entity user {}"}}, std::nullopt).ok());
    REQUIRE(fixture.store.tenants->remove("a").ok());

    CHECK(read_head(fixture, "a") == "");
    CHECK(read_head(fixture, "b") == "1#owner@y");
    CHECK(message_of(fixture.store.schemas->head_version("a").status()) == "ERROR_CODE_SCHEMA_NOT_FOUND");
    const auto page = fixture.store.reader->tuples("a", *token, {}, {.size = 5, .continuous_token = ""});
    CHECK(page.status().code() == StatusCode::kOutOfRange);

    REQUIRE(fixture.store.writer->write("a", {tuple_of("doc", "2", "owner", "z")}, {}).ok());
    CHECK(read_head(fixture, "a") == "2#owner@z");
  }
}

TEST_SUITE("storage/schemas") {
  TEST_CASE("schema versions: names are time, sort by time, and always behind the head") {
    ManualClock clock;
    SchemaVersions versions(clock);
    const std::string first = *versions.next("");
    CHECK(first.size() == 20);
    CHECK(seconds_of_schema_version(first) == clock.unix_micros() / 1'000'000);
    const std::string second = *versions.next(first);
    CHECK(second > first);
    // The clock of another pod was ahead by years.
    const std::string ahead = "uuuuuuuuuuuuuuuuuuu0";
    const std::string behind = *versions.next(ahead);
    CHECK(behind > ahead);
    CHECK(seconds_of_schema_version(behind) == *seconds_of_schema_version(ahead) + 1);
    CHECK(seconds_of_schema_version("cq3vul1h9s2c73a0b1c0") == 0x6687ff54);
    CHECK_FALSE(seconds_of_schema_version("not a version").has_value());
    CHECK_FALSE(versions.next("vvvvvvvvvvvvvvvvvvvv").ok());
  }

  TEST_CASE("schemas: rows come back by version, head is the newest, list is newest first") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    SchemaStore& schemas = *fixture.store.schemas;
    CHECK(message_of(schemas.head_version("a").status()) == "ERROR_CODE_SCHEMA_NOT_FOUND");
    const std::string first = *schemas.write("a", {{"user", "entity user {} \"\\ ü"}}, std::nullopt);
    const std::string second = *schemas.write("a", {{"user", "2"}, {"doc", "1"}}, first);
    CHECK(*schemas.head_version("a") == second);
    const auto rows = schemas.read("a", second);
    REQUIRE(rows.ok());
    REQUIRE(rows->size() == 2);
    CHECK(rows->at(0).name == "doc");
    CHECK(schemas.read("a", first)->at(0).text == "entity user {} \"\\ ü");
    CHECK(schemas.read("a", "nonsense")->empty());

    auto page = schemas.list("a", {.size = 1, .continuous_token = ""});
    REQUIRE(page.ok());
    CHECK(page->items.at(0).version == second);
    CHECK(page->items.at(0).created_at_s > 1'700'000'000);
    page = schemas.list("a", {.size = 1, .continuous_token = page->next});
    REQUIRE(page.ok());
    CHECK(page->items.at(0).version == first);
    CHECK(page->next.empty());
  }

  TEST_CASE("schemas: a write on top of an outdated head is refused") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::string first = *fixture.store.schemas->write("a", {{"user", "1"}}, std::nullopt);
    std::atomic<int> succeeded{0};
    std::atomic<int> aborted{0};
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&] {
          const auto written = fixture.store.schemas->write("a", {{"user", "2"}}, first);
          succeeded += written.ok();
          aborted += written.status().code() == StatusCode::kAborted;
        });
      }
    }
    CHECK(succeeded == 1);
    CHECK(aborted == 5);
  }
}

TEST_SUITE("storage/bundles") {
  TEST_CASE("bundles: written, overwritten, read and removed") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    BundleStore& bundles = *fixture.store.bundles;
    DataBundle bundle;
    bundle.set_name("b");
    bundle.add_arguments("x");
    bundle.add_operations()->add_relationships_write("doc:{{.x}}#owner@user:\"a\\\"");
    REQUIRE(bundles.write("a", {bundle}).ok());
    CHECK(bundles.read("a", "b")->SerializeAsString() == bundle.SerializeAsString());
    CHECK(database->execute("SELECT payload->'operations'->0->'relationships_write'->>0 FROM bundles") ==
          "doc:{{.x}}#owner@user:\"a\\\"");
    bundle.add_arguments("y");
    REQUIRE(bundles.write("a", {bundle}).ok());
    CHECK(bundles.read("a", "b")->arguments_size() == 2);
    CHECK(message_of(bundles.read("c", "b").status()) == "ERROR_CODE_BUNDLE_NOT_FOUND");
    CHECK(message_of(bundles.write("a", {bundle, bundle}).status()) == "ERROR_CODE_EXECUTION");
    CHECK(bundles.remove("a", "b").ok());
    CHECK(bundles.remove("a", "b").ok());
    CHECK_FALSE(bundles.read("a", "b").ok());
  }
}

}  // namespace
}  // namespace headgate::engine
