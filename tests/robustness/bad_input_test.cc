// Requests that are too large, malformed or at their limits: each is served, or refused with the code that says so, and
// a refused one leaves nothing in the tables.
#include <absl/strings/escaping.h>
#include <grpcpp/generic/generic_stub.h>

#include <functional>
#include <future>
#include <pqxx/pqxx>
#include <set>

#include "base/snap_token.h"
#include "tests/robustness/pressure.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_stubs.h"

TEST_SUITE("robustness/bad_input") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using grpc::StatusCode;
  using Clock = std::chrono::steady_clock;

  const std::string kLong(128, 'i');

  // Everything a write may leave behind.
  std::string rows(World & world) {
    pqxx::connection connection(world.database_uri());
    return pqxx::nontransaction(connection)
        .exec1(
            "SELECT (SELECT count(*) FROM transactions) || '/' || (SELECT count(*) FROM relation_tuples) || '/' ||"
            " (SELECT count(*) FROM attributes)")[0]
        .c_str();
  }

  base::v1::Tuple tuple(const std::string& id, const std::string& subject = "u",
                        const std::string& relation = "owner") {
    base::v1::Tuple made = tuple_of("doc:x#owner@user:u");
    made.mutable_entity()->set_id(id);
    made.mutable_subject()->set_id(subject);
    made.set_relation(relation);
    return made;
  }

  base::v1::Attribute text_attribute(const std::string& id, const std::string& text) {
    base::v1::Attribute attribute = make_boolean("doc", id, "note", true);
    base::v1::StringValue value;
    value.set_data(text);
    attribute.mutable_value()->PackFrom(value);
    return attribute;
  }

  // Bytes as they are, which a client in C++ would not send.
  grpc::Status send_raw(EngineClient & client, const std::string& method, const std::string& bytes) {
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer in(&slice, 1);
    grpc::ByteBuffer out;
    grpc::ClientContext context;
    set_deadline(context);
    grpc::GenericStub stub(client.channel());
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &in, &out,
                   [&done](grpc::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  }

  std::unique_ptr<World> small_world() {
    auto world = World::create({.sinks = {}});
    if (world == nullptr) return world;
    world->client().create_tenant("t",
                                  "entity user {}\nentity doc {\n  relation owner @user\n  attribute public boolean\n"
                                  "  attribute note string\n}\n");
    REQUIRE(world->client().write("t", {tuple("first")}).status.ok());
    return world;
  }

  TEST_CASE("writes: what is too large or malformed is refused with its code, and nothing of it is stored") {
    const auto world = small_world();
    if (world == nullptr) return;
    EngineClient& client = world->client();
    const std::string before = rows(*world);
    const auto refused = [&](const char* what, StatusCode code, const WriteAnswer& answer) {
      CAPTURE(what);
      CHECK_MESSAGE(answer.status.error_code() == code, answer.status.error_code() << answer.status.error_message());
      CHECK(answer.token.empty());
      CHECK(rows(*world) == before);
    };
    std::vector<base::v1::Tuple> many;
    for (int i = 0; i < 1001; ++i) many.push_back(tuple("d" + std::to_string(i)));
    refused("more tuples than one write may have", StatusCode::INVALID_ARGUMENT, client.write("t", many));
    many.resize(999);
    many.push_back(tuple("d1000", "u", "no_such_relation"));
    refused("a wrong one behind 999 good ones", StatusCode::NOT_FOUND, client.write("t", many));
    refused("a wrong attribute behind a good tuple", StatusCode::NOT_FOUND,
            client.write("t", {tuple("good")}, {make_boolean("doc", "good", "no_such_attribute", true)}));
    refused("an attribute of another type", StatusCode::NOT_FOUND,
            client.write("t", {tuple("good")}, {make_integer("doc", "good", "public", 1)}));
    base::v1::Attribute garbage = make_boolean("doc", "good", "public", true);
    garbage.mutable_value()->set_value("\xff\xff\xff\xff");
    CHECK_FALSE(client.write("t", {tuple("good")}, {garbage}).status.ok());
    CHECK(rows(*world) == before);
    refused("more bytes than a message may have", StatusCode::RESOURCE_EXHAUSTED,
            client.write("t", {}, {text_attribute("big", std::string(5 << 20, 'x'))}));
    refused("an attribute with a zero byte", StatusCode::INVALID_ARGUMENT,
            client.write("t", {tuple("good")}, {text_attribute("zero", std::string("a\0b", 3))}));
    for (const std::string& id :
         {std::string(), std::string(129, 'i'), std::string("a b"), std::string("a*"), std::string(">"),
          std::string("{}"), std::string("a/b"), std::string("\xc3\xbc"), std::string("a\0b", 3), std::string("a\nb"),
          std::string("'; DROP TABLE tenants; --")}) {
      refused(id.c_str(), StatusCode::INVALID_ARGUMENT, client.write("t", {tuple("good"), tuple(id)}));
      refused(id.c_str(), StatusCode::INVALID_ARGUMENT, client.write("t", {tuple("good"), tuple("y", id)}));
      refused(id.c_str(), StatusCode::INVALID_ARGUMENT, client.write(id, {tuple("good")}));
    }
    refused("a relation with 65 letters", StatusCode::INVALID_ARGUMENT,
            client.write("t", {tuple("good", "u", std::string(65, 'r'))}));
    refused("a tenant without a schema", StatusCode::NOT_FOUND, client.write("nobody", {tuple("good")}));
    CHECK(world->engine().running());
  }

  TEST_CASE("bytes: what is no message, or no UTF-8, is refused without a trace") {
    const auto world = small_world();
    if (world == nullptr) return;
    EngineClient& client = world->client();
    const std::string before = rows(*world);
    base::v1::DataWriteRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata();
    *request.add_tuples() = tuple("QQQQ");
    std::string bytes = request.SerializeAsString();
    bytes.replace(bytes.find("QQQQ"), 4, "\xff\xfe\xc3\x28");
    const auto refused = [&](const std::string& method, const std::string& sent) {
      CAPTURE(method);
      const grpc::Status status = send_raw(client, method, sent);
      CHECK_MESSAGE(status.error_code() == StatusCode::INVALID_ARGUMENT, status.error_code() << status.error_message());
      CHECK_FALSE(status.error_message().empty());
    };
    refused("/base.v1.Data/Write", bytes);
    for (const char* method : {"/base.v1.Data/Write", "/base.v1.Data/ReadRelationships", "/base.v1.Data/Delete",
                               "/base.v1.Schema/Write", "/base.v1.Tenancy/Create", "/base.v1.Watch/Watch",
                               "/headgate.v1.Feed/Subscribe", "/base.v1.Bundle/Write", "/base.v1.Permission/Check"}) {
      // The first field of each is a name: bytes that are no UTF-8, one that is cut off, no field at all, a flood.
      refused(method, "\x0a\x04\xff\xfe\xc3\x28");
      refused(method, "\x0a\x7ft");
      refused(method, std::string(11, '\xff'));
      refused(method, std::string(1 << 20, '\x0a'));
    }
    CHECK(rows(*world) == before);
    CHECK(world->client().write("t", {tuple("after")}).status.ok());
  }

  TEST_CASE("limits: ids, counts and values at their bounds are stored, read back and streamed as they are") {
    const auto world = small_world();
    if (world == nullptr) return;
    EngineClient& client = world->client();
    WatchReader watch(client, "t", "");
    REQUIRE(watch.wait_open(5s));
    const std::vector<std::string> ids = {kLong, "*", ".", "..", "a.b", "a:b", "a@b", "a+b", "_", "-", "A.b", "0"};
    std::vector<base::v1::Tuple> tuples;
    for (const std::string& id : ids) tuples.push_back(tuple(id, id));
    for (size_t i = tuples.size(); i < 999; ++i) tuples.push_back(tuple("n" + std::to_string(i)));
    const std::string text(900'000, 'v');
    REQUIRE(client.write("t", tuples, {text_attribute(kLong, "\xc3\xbc \"quoted\" \\ {} \x01 \xf0\x9f\x98\x80")})
                .status.ok());
    REQUIRE(client.write("t", {}, {text_attribute("large", text)}).status.ok());
    REQUIRE(watch.wait_for(2, 20s));
    const Truth truth = read_truth(world->database_uri());
    const auto messages = watch.messages();
    CHECK(messages[0].data_changes_size() == 1000);
    base::v1::StringValue value;
    REQUIRE(messages[1].data_changes(0).attribute().value().UnpackTo(&value));
    CHECK(value.data() == text);
    const auto stored = client.tuples_at("t", "");
    for (const base::v1::Tuple& written : tuples) {
      CHECK(std::binary_search(stored.begin(), stored.end(), text_of(written)));
    }
    client.create_tenant(std::string(64, 't'), kSchema);
    REQUIRE(client.write(std::string(64, 't'), {tuple_of("doc:1#owner@user:a")}).status.ok());
  }

  // Within a second, and never OK.
  void expect_refused(const std::string& what, const std::function<grpc::Status()>& call, StatusCode code) {
    CAPTURE(what);
    const auto begin = Clock::now();
    const grpc::Status status = call();
    CHECK(Clock::now() - begin < 1s);
    CHECK_MESSAGE(status.error_code() == code, status.error_code() << " " << status.error_message());
  }

  grpc::Status read_page(EngineClient & client, uint32_t size, const std::string& token, size_t* count = nullptr,
                         std::string* next = nullptr, const std::function<void(base::v1::TupleFilter&)>& filter = {},
                         const std::string& snap_token = "") {
    grpc::ClientContext context;
    set_deadline(context);
    base::v1::RelationshipReadRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata()->set_snap_token(snap_token);
    request.mutable_filter();
    if (filter) filter(*request.mutable_filter());
    request.set_page_size(size);
    request.set_continuous_token(token);
    base::v1::RelationshipReadResponse response;
    const grpc::Status status = client.stubs().data->ReadRelationships(&context, request, &response);
    if (count != nullptr) *count = static_cast<size_t>(response.tuples_size());
    if (next != nullptr) *next = response.continuous_token();
    return status;
  }

  grpc::Status list_page(EngineClient & client, const std::string& token) {
    grpc::ClientContext context;
    set_deadline(context);
    base::v1::TenantListRequest request;
    request.set_page_size(10);
    request.set_continuous_token(token);
    base::v1::TenantListResponse response;
    return client.stubs().tenancy->List(&context, request, &response);
  }

  TEST_CASE("pages: any size is served, any token that is none is refused") {
    const auto world = small_world();
    if (world == nullptr) return;
    EngineClient& client = world->client();
    std::vector<base::v1::Tuple> tuples;
    for (int i = 0; i < 119; ++i) tuples.push_back(tuple("p" + std::to_string(i)));
    REQUIRE(client.write("t", tuples).status.ok());
    for (const uint32_t size : {0u, 1u, 7u, 100u, 4'294'967'295u}) {
      CAPTURE(size);
      size_t total = 0, count = 0, pages = 0;
      std::string token;
      do {
        REQUIRE(read_page(client, size, token, &count, &token).ok());
        total += count;
        ++pages;
      } while (!token.empty() && pages < 1000);
      CHECK(total == 120);
    }
    for (const std::string& token : {std::string("!"), std::string("AAA"), std::string("LTE="), std::string("MS4x"),
                                     std::string("OTk5OTk5OTk5OTk5OTk5OTk5OTk5"), std::string("/w=="),
                                     std::string("JyBPUiAxPTE="), std::string(100'000, 'A')}) {
      expect_refused(
          "read " + token.substr(0, 30), [&] { return read_page(client, 10, token); }, StatusCode::INVALID_ARGUMENT);
    }
    for (const std::string& token :
         {std::string("!"), std::string("AAA"), std::string("/w=="), std::string("YQBi"), std::string("w6k")}) {
      expect_refused(
          "list " + token, [&] { return list_page(client, token); }, StatusCode::INVALID_ARGUMENT);
    }
  }

  TEST_CASE("pages: those of large attributes are short, and together complete") {
    const auto world = small_world();
    if (world == nullptr) return;
    flood(world->database_uri(), {.tenant = "t", .prefix = "large", .transactions = 12, .bytes = 1'000'000});
    std::set<std::string> seen;
    base::v1::AttributeReadRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata();
    request.mutable_filter()->mutable_entity()->set_type("doc");
    request.set_page_size(5'000);
    do {
      grpc::ClientContext context;
      set_deadline(context);
      base::v1::AttributeReadResponse response;
      REQUIRE(world->client().stubs().data->ReadAttributes(&context, request, &response).ok());
      CHECK(response.attributes_size() > 0);
      CHECK(response.ByteSizeLong() < 4'000'000);
      for (const auto& attribute : response.attributes()) CHECK(seen.insert(attribute.entity().id()).second);
      request.set_continuous_token(response.continuous_token());
    } while (!request.continuous_token().empty());
    CHECK(seen.size() == 12);
  }

  TEST_CASE("filters: odd content finds nothing and breaks nothing") {
    const auto world = small_world();
    if (world == nullptr) return;
    EngineClient& client = world->client();
    const auto count = [&](const std::function<void(base::v1::TupleFilter&)>& filter) {
      size_t found = 0;
      std::string next;
      const grpc::Status status = read_page(client, 100, "", &found, &next, filter);
      CHECK_MESSAGE(status.ok(), status.error_message());
      return found;
    };
    CHECK(count([](auto&) {}) == 1);
    for (const std::string id :
         {"' OR 1=1 --", "{\"first\"}", "first,", "\\", "\xc3\xbc", "%", "fir_t", "", " first"}) {
      CHECK(count([&](auto& filter) { filter.mutable_entity()->add_ids(id); }) == 0);
      CHECK(count([&](auto& filter) { filter.mutable_subject()->add_ids(id); }) == 0);
      CHECK(count([&](auto& filter) { filter.mutable_entity()->set_type(id.empty() ? "x" : id); }) == 0);
    }
    CHECK(count([](auto& filter) {
            for (int i = 0; i < 20'000; ++i) filter.mutable_entity()->add_ids("none" + std::to_string(i));
            filter.mutable_entity()->add_ids("first");
          }) == 1);
    expect_refused(
        "a zero byte",
        [&] {
          return read_page(client, 10, "", nullptr, nullptr,
                           [](auto& filter) { filter.mutable_entity()->add_ids(std::string("first\0", 6)); });
        },
        StatusCode::INVALID_ARGUMENT);
    expect_refused(
        "a relation that is no name",
        [&] { return read_page(client, 10, "", nullptr, nullptr, [](auto& filter) { filter.set_relation("a b"); }); },
        StatusCode::INVALID_ARGUMENT);
  }

  TEST_CASE("snap tokens: every malformed kind is refused within a second, by reads and by streams") {
    const auto world = small_world();
    if (world == nullptr) return;
    EngineClient& client = world->client();
    const auto base64 = [](const std::string& text) { return absl::Base64Escape({text.data(), text.size()}); };
    const std::vector<std::string> tokens = {"!",
                                             "AAAA",
                                             "AAAAAAAAAAAA",
                                             std::string(100'000, 'A'),
                                             base64("1:2:3:4:5"),
                                             base64("5:9:3:"),
                                             base64("-1:1:1:"),
                                             base64("1:1:99999999999999999999999:"),
                                             base64("7:1:9:8,2"),
                                             base64("7:1:9:x"),
                                             base64("7:1:"),
                                             base64(":::"),
                                             base64("\xff\xfe\xfd\xfc"),
                                             base64(std::string("1\0:1:2:", 7))};
    for (const std::string& token : tokens) {
      CAPTURE(token.substr(0, 40));
      const auto begin = Clock::now();
      const grpc::Status read = read_page(client, 10, "", nullptr, nullptr, {}, token);
      CHECK_MESSAGE(read.error_code() == StatusCode::INVALID_ARGUMENT, read.error_code() << read.error_message());
      CHECK(Clock::now() - begin < 1s);
      const auto opened = Clock::now();
      WatchReader watch(client, "t", token);
      CHECK(watch.wait_end(5s));
      CHECK(Clock::now() - opened < 1s);
      CHECK(watch.status().error_code() == StatusCode::INVALID_ARGUMENT);
      CHECK(error_reason(watch.status()) == "MALFORMED_TOKEN");
    }
    CHECK(world->client().write("t", {tuple("after")}).status.ok());
  }
}
