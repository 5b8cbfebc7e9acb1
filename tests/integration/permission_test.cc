// Permission calls over gRPC: what metadata and trailers say, streams, deadlines.
#include "base/snap_token.h"
#include "base/v1/service.grpc.pb.h"
#include "tests/integration/engine_process.h"
#include "tests/support/engine_client.h"
#include "tests/support/postgres.h"

namespace headgate::testing {
namespace {

constexpr char kFolders[] = R"(
entity user {}
entity folder { relation parent @folder
  relation viewer @user
  permission view = viewer or parent.view }
)";

// One engine with a tenant "t".
struct Checks {
  explicit Checks(const std::string& uri, const std::map<std::string, std::string>& env = {})
      : engine({.database_uri = uri, .env = env}),
        client("127.0.0.1:" + std::to_string(engine.grpc_port())),
        permissions(base::v1::Permission::NewStub(engine.channel())) {
    client.create_tenant("t", kFolders);
  }

  struct Answer {
    grpc::Status status;
    bool allowed = false;
    std::map<std::string, std::string> trailers;
  };

  Answer ask(const std::string& question, const std::string& token = "", const std::string& consistency = "") {
    const base::v1::Tuple asked = tuple_of(question);
    base::v1::PermissionCheckRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata()->set_depth(2000);
    request.mutable_metadata()->set_snap_token(token);
    *request.mutable_entity() = asked.entity();
    request.set_permission(asked.relation());
    *request.mutable_subject() = asked.subject();
    grpc::ClientContext context;
    set_deadline(context);
    if (!consistency.empty()) context.AddMetadata("headgate-consistency", consistency);
    base::v1::PermissionCheckResponse response;
    Answer answer;
    answer.status = permissions->Check(&context, request, &response);
    answer.allowed = response.can() == base::v1::CHECK_RESULT_ALLOWED;
    for (const auto& [key, value] : context.GetServerTrailingMetadata()) {
      answer.trailers[{key.data(), key.size()}] = {value.data(), value.size()};
    }
    return answer;
  }

  EngineProcess engine;
  EngineClient client;
  std::unique_ptr<base::v1::Permission::Stub> permissions;
};

}  // namespace

TEST_SUITE("integration/permission") {
  TEST_CASE("permission: trailers name the state that answered, and that state answers the same again") {
    HG_POSTGRES(database);
    Checks checks(database->uri());
    REQUIRE(checks.client.write("t", {tuple_of("folder:1#viewer@user:a")}).status.ok());
    const Checks::Answer first = checks.ask("folder:1#view@user:a");
    CHECK(first.allowed);
    REQUIRE(first.trailers.contains("headgate-snap-token"));
    CHECK(first.trailers.at("headgate-source") == "database");
    CHECK(std::stoi(first.trailers.at("headgate-age-ms")) < 20'000);
    const std::string token = first.trailers.at("headgate-snap-token");
    REQUIRE(checks.client.remove("t", "folder", "1").status.ok());
    CHECK_FALSE(checks.ask("folder:1#view@user:a").allowed);
    CHECK_FALSE(checks.ask("folder:1#view@user:a", token).allowed);
    CHECK_FALSE(checks.ask("folder:1#view@user:a", "", "strict").allowed);
    const Checks::Answer again = checks.ask("folder:1#view@user:a", token, "exact");
    CHECK(again.allowed);
    CHECK(again.trailers.at("headgate-snap-token") == token);
    CHECK(checks.ask("folder:1#view@user:a", "", "exact").status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(checks.ask("folder:1#view@user:a", "", "soon").status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  }

  TEST_CASE("permission: what another process wrote is seen with its token, and without one after a moment") {
    HG_POSTGRES(database);
    Checks checks(database->uri(), {{"HEADGATE_ENGINE_CHECK_MAX_STALENESS", "1h"}});
    EngineProcess other({.database_uri = database->uri()});
    EngineClient writer("127.0.0.1:" + std::to_string(other.grpc_port()));
    CHECK_FALSE(checks.ask("folder:1#view@user:a").allowed);
    const WriteAnswer written = writer.write("t", {tuple_of("folder:1#viewer@user:a")});
    REQUIRE(written.status.ok());
    CHECK_FALSE(checks.ask("folder:1#view@user:a").allowed);  // within the hour
    CHECK(checks.ask("folder:1#view@user:a", "", "strict").allowed);
    CHECK(checks.ask("folder:1#view@user:a", written.token).allowed);
    // A write of this process counts at once, whatever the limit.
    REQUIRE(checks.client.write("t", {tuple_of("folder:2#viewer@user:a")}).status.ok());
    CHECK(checks.ask("folder:2#view@user:a").allowed);
  }

  TEST_CASE("permission: a chain of a thousand parents is answered, and a circle of them ends") {
    HG_POSTGRES(database);
    Checks checks(database->uri());
    const auto folder = [](int number) { return "folder:" + std::to_string(number); };
    std::vector<base::v1::Tuple> tuples;
    for (int i = 1; i < 999; ++i) tuples.push_back(tuple_of(folder(i) + "#parent@" + folder(i + 1)));
    tuples.push_back(tuple_of(folder(999) + "#viewer@user:a"));
    REQUIRE(checks.client.write("t", tuples).status.ok());
    REQUIRE(checks.client.write("t", {tuple_of(folder(999) + "#parent@" + folder(1))}).status.ok());
    CHECK(checks.ask(folder(1) + "#view@user:a").allowed);
    const Checks::Answer nobody = checks.ask(folder(1) + "#view@user:nobody");
    CHECK_MESSAGE(nobody.status.ok(), nobody.status.error_message());
    CHECK_FALSE(nobody.allowed);
  }

  TEST_CASE("permission: a stream gives what the pages give, and ends when its client goes") {
    HG_POSTGRES(database);
    Checks checks(database->uri());
    std::vector<base::v1::Tuple> tuples;
    for (int i = 0; i < 700; ++i) tuples.push_back(tuple_of("folder:" + std::to_string(i) + "#viewer@user:a"));
    REQUIRE(checks.client.write("t", tuples).status.ok());
    base::v1::PermissionLookupEntityRequest request;
    request.set_tenant_id("t");
    request.mutable_metadata()->set_depth(20);
    request.set_entity_type("folder");
    request.set_permission("view");
    *request.mutable_subject() = tuple_of("x:x#x@user:a").subject();
    base::v1::PermissionLookupEntityResponse pages;
    grpc::ClientContext unary;
    set_deadline(unary);
    REQUIRE(checks.permissions->LookupEntity(&unary, request, &pages).ok());
    CHECK(pages.entity_ids_size() == 700);
    grpc::ClientContext streamed;
    set_deadline(streamed);
    const auto reader = checks.permissions->LookupEntityStream(&streamed, request);
    base::v1::PermissionLookupEntityStreamResponse message;
    int read = 0;
    bool same = true;
    while (reader->Read(&message)) same = same && message.entity_id() == pages.entity_ids(read++);
    CHECK(reader->Finish().ok());
    CHECK(read == 700);
    CHECK(same);
    for (int i = 0; i < 5; ++i) {
      grpc::ClientContext left;
      set_deadline(left);
      const auto gone = checks.permissions->LookupEntityStream(&left, request);
      REQUIRE(gone->Read(&message));
      left.TryCancel();
      CHECK(gone->Finish().error_code() == grpc::StatusCode::CANCELLED);
    }
    CHECK(checks.ask("folder:1#view@user:a").allowed);
  }
}

}  // namespace headgate::testing
