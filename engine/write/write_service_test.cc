#include "engine/write/write_service.h"

#include <google/protobuf/text_format.h>

#include <future>

#include "engine/schema/schema.h"
#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

constexpr char kSchema[] = R"(
entity user {}
entity group { relation member @user @group#member }
entity doc {
  relation owner @user
  relation viewer @user @group#member
  attribute public boolean
  attribute size integer
  permission view = viewer or owner
}
rule small(size integer) { size < 10 }
)";

struct Service : StorageFixture {
  explicit Service(const testing::PostgresDatabase& database) : StorageFixture(database) {
    const auto compiled = compile_schema(kSchema);
    REQUIRE_MESSAGE(compiled.ok(), describe(compiled.status()));
    version = *store.schemas->write("a", compiled->rows, std::nullopt);
  }

  std::string write(const std::string& text) {
    base::v1::DataWriteRequest request;
    REQUIRE(google::protobuf::TextFormat::ParseFromString(text, &request));
    request.set_tenant_id("a");
    return message_of(write(request).status());
  }
  // As the edge does it: without a thread of its own when that is possible.
  StatusOr<SnapToken> write(const base::v1::DataWriteRequest& request) {
    const auto write = service.prepare(request);
    std::promise<void> ready;
    const bool begun = write->begin([] { return ok_status(); }, [&](bool) { ready.set_value(); });
    if (begun) {
      ++taken_soon;
      ready.get_future().wait();
    }
    return write->get();
  }
  std::string write_tuple(const std::string& tuple) { return write("tuples {" + tuple + "}"); }

  int taken_soon = 0;
  SchemaCache schemas{*store.schemas};
  std::vector<uint64_t> announced;
  WriteService service{store, schemas, {.data_per_write_max = 3}, [this](uint64_t xid) { announced.push_back(xid); }};
  std::string version;
};

std::string tuple_text(const std::string& entity, const std::string& relation, const std::string& subject,
                       const std::string& subject_relation = "") {
  return fmt::format(
      R"(entity {{ type: "{}" id: "1" }} relation: "{}" subject {{ type: "{}" id: "1" relation: "{}" }})", entity,
      relation, subject, subject_relation);
}

std::string integer_text(const std::string& entity, const std::string& name, int value) {
  return fmt::format(R"(attributes {{ entity {{ type: "{}" id: "1" }} attribute: "{}" value {{
    [type.googleapis.com/base.v1.IntegerValue] {{ data: {} }} }} }})",
                     entity, name, value);
}

TEST_SUITE("write/service") {
  TEST_CASE("write: each fault has its code, checked in Permify's order") {
    HG_POSTGRES(database);
    Service service(*database);
    CHECK(service.write_tuple(tuple_text("doc", "owner", "user")) == "");
    CHECK(service.write_tuple(tuple_text("nope", "owner", "user")) == "ERROR_CODE_SCHEMA_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("small", "owner", "user")) == "ERROR_CODE_ENTITY_DEFINITION_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("doc", "nope", "user")) == "ERROR_CODE_RELATION_DEFINITION_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("doc", "view", "user")) == "ERROR_CODE_RELATION_DEFINITION_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("doc", "owner", "group", "member")) == "ERROR_CODE_SUBJECT_TYPE_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("doc", "viewer", "group")) == "ERROR_CODE_SUBJECT_TYPE_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("group", "member", "group", "member")) ==
          "ERROR_CODE_ENTITY_AND_SUBJECT_CANNOT_BE_EQUAL");
    CHECK(service.write(integer_text("doc", "nope", 1)) == "ERROR_CODE_ATTRIBUTE_DEFINITION_NOT_FOUND");
    CHECK(service.write(integer_text("doc", "public", 1)) == "ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH");
    CHECK(service.write(integer_text("doc", "size", 1)) == "");
    CHECK(service.write(R"(attributes { entity { type: "doc" id: "1" } attribute: "size" })") ==
          "ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH");
    // Tuples are looked at before attributes, the first fault counts.
    CHECK(service.write(integer_text("doc", "nope", 1) + "tuples {" + tuple_text("doc", "nope", "user") + "}") ==
          "ERROR_CODE_RELATION_DEFINITION_NOT_FOUND");
    CHECK(service.announced.size() == 2);
    CHECK(service.schemas.size() == 1);
  }

  TEST_CASE("write: the first of equal keys wins, and the limit counts distinct ones") {
    HG_POSTGRES(database);
    Service service(*database);
    const std::string owner = "tuples {" + tuple_text("doc", "owner", "user") + "}";
    const std::string viewer = "tuples {" + tuple_text("doc", "viewer", "user") + "}";
    CHECK(service.write(owner + owner + viewer + viewer + integer_text("doc", "size", 1) +
                        integer_text("doc", "size", 2)) == "");
    const auto head = *service.store.reader->head("a");
    const auto page = service.store.reader->attributes("a", head, {}, {.size = 9, .continuous_token = ""});
    REQUIRE(page->items.size() == 1);
    CHECK(page->items[0].value().value() == "\b\x01");
    CHECK(service.write(owner + viewer + integer_text("doc", "size", 1) + "tuples {" +
                        tuple_text("group", "member", "user") + "}") == "ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED");
  }

  TEST_CASE("write: schema versions that are absent or unknown") {
    HG_POSTGRES(database);
    Service service(*database);
    base::v1::DataWriteRequest request;
    request.set_tenant_id("without schema");
    CHECK(message_of(service.service.write(request).status()) == "ERROR_CODE_SCHEMA_NOT_FOUND");
    request.mutable_metadata()->set_schema_version("invented");
    CHECK(service.service.write(request).ok());
    *request.add_tuples() = tuple_of("doc", "1", "owner", "x");
    CHECK(message_of(service.service.write(request).status()) == "ERROR_CODE_SCHEMA_NOT_FOUND");
    CHECK(service.schemas.size() == 0);
  }

  TEST_CASE("write: a schema that another process wrote counts at once") {
    HG_POSTGRES(database);
    Service service(*database);
    CHECK(service.write_tuple(tuple_text("doc", "owner", "user")) == "");
    CHECK(service.schemas.newest_seen("a") == service.version);
    // Past this service, as a second engine does it.
    const auto wider = compile_schema("entity user {} entity doc { relation reader @user }");
    const std::string wider_version = *service.store.schemas->write("a", wider->rows, std::nullopt);
    CHECK(service.write_tuple(tuple_text("doc", "owner", "user")) == "ERROR_CODE_RELATION_DEFINITION_NOT_FOUND");
    CHECK(service.write_tuple(tuple_text("doc", "reader", "user")) == "");
    CHECK(service.taken_soon == 2);
    CHECK(service.schemas.newest_seen("a") == wider_version);
    CHECK(service.announced.size() == 2);
    database->execute("DELETE FROM schema_definitions");
    CHECK(service.write_tuple(tuple_text("doc", "reader", "user")) == "ERROR_CODE_SCHEMA_NOT_FOUND");
    CHECK(database->execute("SELECT count(*) FROM transactions") == "2");
  }

  TEST_CASE("remove: empty filters are refused, a filled one deletes") {
    HG_POSTGRES(database);
    Service service(*database);
    REQUIRE(service.write_tuple(tuple_text("doc", "owner", "user")) == "");
    base::v1::DataDeleteRequest request;
    request.set_tenant_id("a");
    request.mutable_tuple_filter()->mutable_entity();
    const Status refused = service.service.remove(request).status();
    CHECK(refused.code() == StatusCode::kInvalidArgument);
    CHECK(message_of(refused) == "ERROR_CODE_VALIDATION");
    CHECK(message_of(service.service.remove_relationships({}).status()) == "ERROR_CODE_VALIDATION");
    request.mutable_tuple_filter()->set_relation("owner");
    CHECK(service.service.remove(request).ok());
    CHECK(read_head(service, "a") == "");
  }

  TEST_CASE("bundle: it is rendered, run as one transaction, and its faults have their codes") {
    HG_POSTGRES(database);
    Service service(*database);
    base::v1::BundleWriteRequest write;
    write.set_tenant_id("a");
    CHECK(message_of(service.service.write_bundles(write).status()) == "ERROR_CODE_SQL_BUILDER");
    base::v1::DataBundle& bundle = *write.add_bundles();
    bundle.set_name("b");
    bundle.add_arguments("org");
    bundle.add_arguments("who");
    base::v1::Operation& operation = *bundle.add_operations();
    operation.add_relationships_write("organization:{{.org}}#admin@user:{{.who}}");
    operation.add_attributes_write("organization:{{.org}}$seats|integer:5");
    operation.add_relationships_delete("doc:1#owner@user:1");
    REQUIRE(service.write_tuple(tuple_text("doc", "owner", "user")) == "");
    CHECK(service.service.write_bundles(write)->front() == "b");

    base::v1::BundleRunRequest run;
    run.set_tenant_id("a");
    run.set_name("nope");
    CHECK(message_of(service.service.run_bundle(run).status()) == "ERROR_CODE_BUNDLE_NOT_FOUND");
    run.set_name("b");
    (*run.mutable_arguments())["org"] = "acme";
    CHECK(message_of(service.service.run_bundle(run).status()) == "ERROR_CODE_MISSING_ARGUMENT");
    (*run.mutable_arguments())["who"] = "";
    CHECK(message_of(service.service.run_bundle(run).status()) == "ERROR_CODE_DATASTORE");
    (*run.mutable_arguments())["who"] = "a+b";
    const auto token = service.service.run_bundle(run);
    REQUIRE(token.ok());
    CHECK(read_names(service, "a", *token) == "acme#admin@a+b");
    CHECK(service.announced.back() == token->xid);

    operation.add_relationships_write("organization:{{.org}}#admin@user:{{.who}}");
    CHECK(message_of(service.service.write_bundles(write).status()) == "ERROR_CODE_ALREADY_EXIST");
    while (write.bundles_size() < 4) write.add_bundles();
    CHECK(message_of(service.service.write_bundles(write).status()) == "ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED");
  }
}

TEST_SUITE("write/schema_cache") {
  struct CountingStore : SchemaStore {
    StatusOr<std::string> write(const std::string&, const std::vector<SchemaRow>&,
                                const std::optional<std::string>&) override {
      return make_status(StatusCode::kUnimplemented, "");
    }
    StatusOr<std::string> head_version(const std::string&) override {
      return make_status(StatusCode::kUnimplemented, "");
    }
    StatusOr<std::vector<SchemaRow>> read(const std::string&, const std::string&) override {
      ++reads;
      return rows;
    }
    StatusOr<Page<SchemaVersion>> list(const std::string&, const PageRequest&) override {
      return make_status(StatusCode::kUnimplemented, "");
    }

    int reads = 0;
    std::vector<SchemaRow> rows = {{"user", "entity user {}"}};
  };

  TEST_CASE("schema cache: a version is read once, the least recently used one makes room") {
    CountingStore store;
    SchemaCache cache(store, 2);
    const auto get = [&](const char* version) { return cache.get("a", version).ok(); };
    CHECK(get("v1"));
    CHECK(get("v1"));
    CHECK(store.reads == 1);
    CHECK(get("v2"));
    CHECK(get("v1"));
    CHECK(get("v3"));
    CHECK(cache.size() == 2);
    CHECK(store.reads == 3);
    CHECK(get("v1"));
    CHECK(store.reads == 3);
    CHECK(get("v2"));
    CHECK(store.reads == 4);
  }

  TEST_CASE("schema cache: large definitions are bounded by their memory, and the newest is kept whatever its size") {
    CountingStore store;
    store.rows.clear();
    for (int i = 0; i < 200; ++i) {
      const std::string name = fmt::format("t{}", std::string(static_cast<size_t>(i + 1), 'x'));
      store.rows.push_back({name, "entity " + name + " {}"});
    }
    SchemaCache cache(store, 1'000, 200'000);
    for (int i = 0; i < 50; ++i) REQUIRE(cache.get("a", std::to_string(i)).ok());
    CHECK(cache.size() > 0);
    CHECK(cache.size() < 50);
    CHECK(cache.bytes() <= 200'000);
    CHECK(cache.get_cached("a", "49") != nullptr);
    SchemaCache small(store, 1'000, 1);
    REQUIRE(small.get("a", "1").ok());
    REQUIRE(small.get("a", "2").ok());
    CHECK(small.size() == 1);
    CHECK(small.get_cached("a", "2") != nullptr);
  }

  TEST_CASE("schema cache: an unknown version is asked for again") {
    CountingStore store;
    store.rows.clear();
    SchemaCache cache(store, 2);
    CHECK((*cache.get("a", "v1"))->entity_definitions().empty());
    CHECK(cache.size() == 0);
    store.rows = {{"user", "entity user {}"}};
    CHECK((*cache.get("a", "v1"))->entity_definitions().contains("user"));
  }
}

}  // namespace
}  // namespace headgate::engine
