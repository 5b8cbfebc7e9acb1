#include "engine/check/check_service.h"

#include "engine/check/check_fixture.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

constexpr char kGroups[] = R"(
entity user {}
entity group { relation member @user @group#member }
entity doc {
  relation viewer @user @group#member
  relation banned @user @group#member
  permission view = viewer not banned
}
)";
constexpr char kDeep[] = "INVALID_ARGUMENT: ERROR_CODE_DEPTH_NOT_ENOUGH";

TEST_SUITE("check/service") {
  TEST_CASE("check: circles of groups end, with the same answer whoever is asked for first") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kGroups);
    fixture.write({"group:a#member@group:b#member", "group:b#member@group:a#member", "group:a#member@user:x",
                   "group:c#member@group:c#member"});
    for (int i = 0; i < 3; ++i) {
      CHECK(fixture.check("group:a#member@user:x") == "allowed");
      CHECK(fixture.check("group:b#member@user:x") == "allowed");
      CHECK(fixture.check("group:a#member@user:nobody") == "denied");
      CHECK(fixture.check("group:b#member@user:nobody") == "denied");
      CHECK(fixture.check("group:c#member@user:x") == "denied");
      CHECK(fixture.check("group:b#member@group:b#member") == "allowed");
      CHECK(fixture.check("group:a#member@group:b#member", 3) == "allowed");
    }
  }

  TEST_CASE("check: what lies deeper than the request allows fails, unless a sibling decides") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kGroups);
    std::vector<std::string> tuples{"doc:1#viewer@user:u", "doc:1#banned@group:g#member", "doc:2#viewer@user:u",
                                    "doc:2#banned@group:g#member", "doc:2#banned@user:u"};
    for (char c = 'g'; c < 'l'; ++c) {
      tuples.push_back(std::string("group:") + c + "#member@group:" + static_cast<char>(c + 1) + "#member");
    }
    tuples.push_back("group:l#member@user:u");
    fixture.write(tuples);
    CHECK(fixture.check("doc:1#view@user:u", 50) == "denied");
    CHECK(fixture.check("doc:1#view@user:v", 50) == "denied");
    for (int i = 0; i < 5; ++i) {
      CHECK(fixture.check("doc:1#view@user:u", 3) == kDeep);
      CHECK(fixture.check("doc:1#banned@user:v", 3) == kDeep);
      CHECK(fixture.check("doc:2#view@user:u", 3) == "denied");
      CHECK(fixture.check("doc:1#view@user:nobody", 3) == "denied");  // who does not view is not asked for bans
    }
    CHECK(fixture.check("group:g#member@user:u", 5) == "allowed");
    CHECK(fixture.check("group:g#member@user:u", 4) == kDeep);
  }

  TEST_CASE("check: a branch that fails does not hide one that decides, in any order") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(R"(
entity user {}
entity doc {
  relation owner @user
  attribute level integer
  permission first = broken(level) or owner
  permission last = owner or broken(level)
  permission both = owner and broken(level)
  permission without = owner not broken(level)
}
rule broken(level integer) {
  level > 0
}
)");
    fixture.write({"doc:1#owner@user:a"});
    const std::string error = "INTERNAL: failed to evaluate expression: broken";
    for (int i = 0; i < 3; ++i) {
      CHECK(fixture.check("doc:1#first@user:a") == "allowed");
      CHECK(fixture.check("doc:1#last@user:a") == "allowed");
      CHECK(fixture.check("doc:1#both@user:b") == "denied");
      CHECK(fixture.check("doc:1#without@user:b") == "denied");
      CHECK(fixture.check("doc:1#first@user:b") == error);
      CHECK(fixture.check("doc:1#last@user:b") == error);
      CHECK(fixture.check("doc:1#both@user:a") == error);
      CHECK(fixture.check("doc:1#without@user:a") == error);
    }
  }

  TEST_CASE("check: one round trip a level, and a relation with many members is not loaded") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database, {.limits = {.batch = {.rows_max = 100}}});
    fixture.schema(kGroups);
    std::vector<std::string> tuples;
    for (int i = 0; i < 900; ++i) tuples.push_back("group:wide#member@user:u" + std::to_string(i));
    tuples.insert(tuples.end(),
                  {"doc:1#viewer@group:wide#member", "group:wide#member@group:in#member", "group:in#member@user:deep"});
    fixture.write(tuples);
    CHECK(fixture.check("doc:1#view@user:u7") == "allowed");
    CHECK(fixture.reader.round_trips == 2);  // viewer and banned, then the members
    CHECK(fixture.check("doc:1#view@user:deep") == "allowed");
    CHECK(fixture.reader.round_trips == 3);
    CHECK(fixture.reader.look_ups == 2 * 2 + 2 + 2);
    CHECK(fixture.check("doc:1#view@user:nobody") == "denied");
    CHECK(fixture.count > 0);
  }

  TEST_CASE("check: an answer that rests on too much is an error, never a wrong one") {
    HG_POSTGRES(database);
    CheckFixture rows(*database, {.limits = {.batch = {.rows_max = 5}}});
    rows.schema(kGroups);
    std::vector<std::string> tuples{"group:g7#member@user:u"};
    for (int i = 0; i < 10; ++i) tuples.push_back("doc:1#viewer@group:g" + std::to_string(i) + "#member");
    rows.write(tuples);
    CHECK(rows.check("doc:1#view@user:u").find("RESOURCE_EXHAUSTED: the answer rests on more than 5") == 0);
    CheckFixture nodes(*database, {.limits = {.nodes_max = 8}});
    CHECK(nodes.check("doc:1#view@user:u").find("RESOURCE_EXHAUSTED: the answer rests on more than 8") == 0);
    CheckFixture time(*database, {.limits = {.time_max = Duration(-1)}});
    CHECK(time.check("doc:1#view@user:u").find("DEADLINE_EXCEEDED") == 0);
    CheckFixture gone(*database);
    gone.wanted = [] { return api_error(base::v1::ERROR_CODE_CANCELLED); };
    CHECK(gone.check("doc:1#view@user:u") == "CANCELLED: ERROR_CODE_CANCELLED");
    CHECK(gone.reader.round_trips == 0);
  }

  TEST_CASE("check: a deadline ends the statement that is under way") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database, {.limits = {.time_max = Duration(300)}});
    fixture.schema(kGroups);
    fixture.write({"doc:1#viewer@user:a"});
    CHECK(fixture.check("doc:1#view@user:a") == "allowed");
    testing::EngineSession locker(database->uri());
    locker.run("BEGIN; LOCK TABLE relation_tuples IN ACCESS EXCLUSIVE MODE");
    const auto begin = std::chrono::steady_clock::now();
    CHECK(fixture.check("doc:1#view@user:a").find("DEADLINE_EXCEEDED") == 0);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
    locker.rollback();
    CHECK(fixture.check("doc:1#view@user:a") == "allowed");
  }

  TEST_CASE("check: a token means at least as fresh as it, or exactly it when that is asked for") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kGroups);
    const std::string before = fixture.write({"doc:1#viewer@user:a"});
    const std::string after = fixture.write({"doc:1#viewer@user:b"});
    const auto exact = [&](const std::string& token) {
      return fixture.check("doc:1#view@user:b", 20, {}, token, Consistency::kExact);
    };
    CHECK(fixture.check("doc:1#view@user:b", 20, {}, before) == "allowed");
    CHECK(exact(before) == "denied");
    CHECK(exact(after) == "allowed");
    CHECK(exact(encode_legacy_token(0)) == "denied");
    CHECK(exact("").find("INVALID_ARGUMENT") == 0);
    const std::string future = encode_position_token(decode_snap_token(after)->xid + 1'000'000);
    for (const Consistency consistency : {Consistency::kDefault, Consistency::kStrict, Consistency::kExact}) {
      const std::string answer = fixture.check("doc:1#view@user:b", 20, {}, future, consistency);
      CHECK(answer.find("OUT_OF_RANGE: the snap token is from the future") == 0);
    }
    CHECK(fixture.check("doc:1#view@user:b", 20, {}, "%%").find("INVALID_ARGUMENT: malformed snap token") == 0);
    testing::EngineSession collector(database->uri());
    fixture.write({"doc:1#viewer@user:c"});
    collector.collect("t");
    CHECK(exact(before).find("OUT_OF_RANGE: the snap token is older than the history that is kept") == 0);
    CHECK(fixture.check("doc:1#view@user:b", 20, {}, before) == "allowed");
  }

  TEST_CASE("check: a commit that was answered is seen, however long a neighbour's transaction stays open") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema("entity user {} entity doc { relation owner @user }");
    testing::EngineSession first(database->uri()), second(database->uri());
    first.begin("t");
    first.add("1", "a");
    second.write("other", "x");
    second.write("t", "2");
    const std::string token = encode_snap_token([&] {
      CHECK(fixture.check("doc:1#owner@user:a") == "denied");
      return *fixture.call.at;
    }());
    CHECK(fixture.check("doc:2#owner@user:u") == "allowed");
    first.commit();
    CHECK(fixture.check("doc:1#owner@user:a") == "allowed");
    // The state of before stays what it was.
    CHECK(fixture.check("doc:1#owner@user:a", 20, {}, token, Consistency::kExact) == "denied");
    CHECK(fixture.check("doc:2#owner@user:u", 20, {}, token, Consistency::kExact) == "allowed");
  }

  TEST_CASE("expand: a set that contains itself is shown once") {
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    fixture.schema(kGroups);
    fixture.write({"group:a#member@group:b#member", "group:b#member@group:a#member", "group:a#member@user:x"});
    base::v1::PermissionExpandRequest request;
    request.set_tenant_id("t");
    *request.mutable_entity() = entity_from("group:a");
    request.set_permission("member");
    CheckCall call{.wanted = fixture.wanted};
    const auto answer = fixture.checks.expand(request, call);
    REQUIRE_MESSAGE(answer.ok(), describe(answer.status()));
    const base::v1::Expand& again = answer->tree().expand().children(0).expand().children(0);
    CHECK(again.entity().id() == "a");
    CHECK(again.leaf().subjects().subjects_size() == 0);
  }
}

}  // namespace
}  // namespace headgate::engine
