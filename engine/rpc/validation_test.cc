#include "engine/rpc/validation.h"

#include <google/protobuf/util/json_util.h>

#include "base/v1/service.pb.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

constexpr const char* kIdReason = R"(value does not match regex pattern "^([a-zA-Z0-9_\\-@\\.:+]{1,128}|\\*)$")";
constexpr const char* kNameReason = R"(value does not match regex pattern "^[a-zA-Z_]{1,64}$")";

// The text for a request given as JSON, "" when it is accepted.
template <typename Request>
std::string verdict(const std::string& json) {
  static const Validator validator;
  Request request;
  REQUIRE(google::protobuf::util::JsonStringToMessage(json, &request).ok());
  const Status status = validator.check(request);
  if (!status.ok()) CHECK(status.code() == StatusCode::kInvalidArgument);
  return message_of(status);
}

std::string write_with_tuple(const std::string& tuple) {
  return R"({"tenant_id": "t1", "metadata": {}, "tuples": [)" + tuple + "]}";
}

const std::string kInTuple = "invalid DataWriteRequest.Tuples[0]: embedded message failed validation | caused by: ";

}  // namespace

TEST_SUITE("engine/api/validation") {
  using base::v1::DataWriteRequest;
  using base::v1::PermissionCheckRequest;
  using base::v1::TenantCreateRequest;

  TEST_CASE("validation: tenant ids are letters, digits and a few signs, or a star") {
    for (const std::string id : {"t1", "A-b_c@d.e:f+g", "*"}) {
      CHECK(verdict<DataWriteRequest>(R"({"metadata": {}, "tenant_id": ")" + id + "\"}") == "");
    }
    for (const std::string id : {"", "**", "a b", "é", "a/b", "a\\n"}) {
      CHECK(verdict<DataWriteRequest>(R"({"metadata": {}, "tenant_id": ")" + id + "\"}") ==
            std::string("invalid DataWriteRequest.TenantId: ") + kIdReason);
    }
  }

  TEST_CASE("validation: the length in bytes is judged before the pattern") {
    const std::string json = R"({"metadata": {}, "tenant_id": ")" + std::string(129, '!') + "\"}";
    CHECK(verdict<DataWriteRequest>(json) ==
          "invalid DataWriteRequest.TenantId: value length must be at most 128 bytes");
    CHECK(verdict<TenantCreateRequest>(R"({"id": ")" + std::string(65, 'a') + "\"}") ==
          "invalid TenantCreateRequest.Id: value length must be at most 64 bytes");
    CHECK(verdict<TenantCreateRequest>(R"({"id": "a", "name": ")" + std::string(65, 'a') + "\"}") ==
          "invalid TenantCreateRequest.Name: value length must be at most 64 bytes");
  }

  TEST_CASE("validation: a new tenant's id needs one good sign anywhere") {
    CHECK(verdict<TenantCreateRequest>(R"({"id": "!a!"})") == "");
    CHECK(verdict<TenantCreateRequest>(R"({"id": "!!"})") ==
          "invalid TenantCreateRequest.Id: value does not match regex pattern \"[a-zA-Z0-9-,]+\"");
  }

  TEST_CASE("validation: the first violation is reported, in order of declaration") {
    CHECK(verdict<DataWriteRequest>("{}") == std::string("invalid DataWriteRequest.TenantId: ") + kIdReason);
    CHECK(verdict<DataWriteRequest>(R"({"tenant_id": "t1", "tuples": [{}]})") ==
          "invalid DataWriteRequest.Metadata: value is required");
  }

  TEST_CASE("validation: faults inside carry the path of the messages around them") {
    CHECK(verdict<DataWriteRequest>(write_with_tuple("{}")) == kInTuple + "invalid Tuple.Entity: value is required");
    CHECK(verdict<DataWriteRequest>(write_with_tuple(R"({"entity": {"type": "d1", "id": "x"}})")) ==
          kInTuple + "invalid Tuple.Entity: embedded message failed validation | caused by: invalid Entity.Type: " +
              kNameReason);
    CHECK(verdict<DataWriteRequest>(write_with_tuple(R"({"entity": {"type": "d", "id": "x"}, "relation": "r-"})")) ==
          kInTuple + "invalid Tuple.Relation: " + kNameReason);
  }

  TEST_CASE("validation: the relation of a subject may be empty, that of a tuple may not") {
    const std::string entity = R"({"entity": {"type": "d", "id": "x"}, )";
    CHECK(verdict<DataWriteRequest>(
              write_with_tuple(entity + R"("relation": "r", "subject": {"type": "u", "id": "a"}})")) == "");
    CHECK(verdict<DataWriteRequest>(write_with_tuple(entity + R"("subject": {"type": "u", "id": "a"}})")) ==
          kInTuple + "invalid Tuple.Relation: " + kNameReason);
  }

  TEST_CASE("validation: counts of items have bounds") {
    CHECK(verdict<base::v1::RelationshipWriteRequest>(R"({"tenant_id": "t1", "metadata": {}})") ==
          "invalid RelationshipWriteRequest.Tuples: value must contain at least 1 item(s)");
    CHECK(verdict<base::v1::PermissionBulkCheckRequest>(R"({"tenant_id": "t1", "metadata": {"depth": 3}})") ==
          "invalid PermissionBulkCheckRequest.Items: value must contain between 1 and 100 items, inclusive");
  }

  TEST_CASE("validation: the depth of a check is at least 3") {
    CHECK(verdict<PermissionCheckRequest>(R"({"tenant_id": "t1", "metadata": {"depth": 2}})") ==
          "invalid PermissionCheckRequest.Metadata: embedded message failed validation | caused by: invalid "
          "PermissionCheckRequestMetadata.Depth: value must be greater than or equal to 3");
  }

  TEST_CASE("validation: filters are required where a missing one would mean everything") {
    CHECK(verdict<base::v1::DataDeleteRequest>(R"({"tenant_id": "t1"})") ==
          "invalid DataDeleteRequest.TupleFilter: value is required");
    CHECK(verdict<base::v1::RelationshipDeleteRequest>(R"({"tenant_id": "t1"})") == "");
    CHECK(verdict<base::v1::RelationshipReadRequest>(
              R"({"tenant_id": "t1", "metadata": {}, "filter": {"relation": "7"}})") ==
          std::string("invalid RelationshipReadRequest.Filter: embedded message failed validation | caused by: "
                      "invalid TupleFilter.Relation: ") +
              kNameReason);
  }

  TEST_CASE("validation: messages without rules pass") {
    CHECK(verdict<base::v1::TenantDeleteRequest>(R"({"id": "no such tenant !"})") == "");
    CHECK(verdict<base::v1::TenantListRequest>("{}") == "");
  }
}

}  // namespace headgate::engine
