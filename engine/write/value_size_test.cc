// What the engine accepts by default, the sinks take by default.
#include <google/protobuf/util/json_util.h>

#include "engine/schema/schema.h"
#include "engine/storage/storage_fixture.h"
#include "engine/write/validation.h"
#include "engine/write/write_service.h"

namespace headgate::engine {
namespace {

// What brokers and clients take unless they are told otherwise.
constexpr size_t kSinksTake = 1'000'000;
// The attributes of a CloudEvent: names and texts of at most a few hundred bytes each, and a list of types.
constexpr size_t kEnvelope = 16 << 10;

// The longest names that the field rules let pass.
base::v1::Attribute named(base::v1::Attribute attribute) {
  attribute.mutable_entity()->set_type(std::string(64, 't'));
  attribute.mutable_entity()->set_id(std::string(128, 'i'));
  attribute.set_attribute(std::string(64, 'a'));
  return attribute;
}

size_t size_of_event(const base::v1::Attribute& attribute) {
  base::v1::DataChanges changes;
  changes.set_snap_token(std::string(64, 'x'));
  changes.add_data_changes()->set_operation(base::v1::DataChange::OPERATION_CREATE);
  *changes.mutable_data_changes(0)->mutable_attribute() = attribute;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  REQUIRE(google::protobuf::util::MessageToJsonString(changes, &json, options).ok());
  return json.size();
}

template <typename Value, typename Data>
base::v1::Attribute list_of(size_t count, const Data& data) {
  Value value;
  for (size_t i = 0; i < count; ++i) value.add_data(data);
  base::v1::Attribute attribute;
  attribute.mutable_value()->PackFrom(value);
  return named(attribute);
}

// The largest count that is accepted still fits, and one element more is refused.
template <typename Make>
void check_bound(const Make& make) {
  const size_t limit = WriteSettings{}.attribute_json_bytes_max;
  size_t good = 1, bad = limit;
  while (bad - good > 1) {
    const size_t middle = (good + bad) / 2;
    (check_size(make(middle), limit).ok() ? good : bad) = middle;
  }
  CHECK(size_of_event(make(good)) + kEnvelope <= kSinksTake);
  CHECK(size_of_event(make(good)) > limit - 1'000);
  CHECK(check_size(make(bad), limit).code() == StatusCode::kInvalidArgument);
}

}  // namespace

TEST_SUITE("write/value_size") {
  TEST_CASE("value size: whatever is accepted fits into an event of the default sinks, however it expands as JSON") {
    using namespace base::v1;
    const auto text = [](const std::string& one) {
      return [one](size_t count) {
        std::string all;
        for (size_t i = 0; i < count; ++i) all += one;
        return named(attribute_of<StringValue>("1", "note", all));
      };
    };
    check_bound(text("x"));
    check_bound(text("\x01"));
    check_bound(text("\x7f"));
    check_bound(text("<"));
    check_bound(text("\""));
    check_bound(text("\xc3\xa4"));
    check_bound([](size_t count) { return list_of<StringArrayValue>(count, std::string()); });
    check_bound([](size_t count) { return list_of<BooleanArrayValue>(count, false); });
    check_bound([](size_t count) { return list_of<IntegerArrayValue>(count, -2'000'000'000); });
    check_bound([](size_t count) { return list_of<DoubleArrayValue>(count, -1.2345678901234567e-300); });
  }

  TEST_CASE(
      "value size: a write or a bundle that is too large is refused, and says what, how large and by which setting") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    SchemaCache schemas{*fixture.store.schemas};
    WriteService service(fixture.store, schemas, {.attribute_json_bytes_max = 2'000});
    const auto compiled = compile_schema("entity doc { attribute note string }");
    REQUIRE(compiled.ok());
    REQUIRE(fixture.store.schemas->write("t", compiled->rows, std::nullopt).ok());
    base::v1::DataWriteRequest request;
    request.set_tenant_id("t");
    *request.add_attributes() = attribute_of<base::v1::StringValue>("7", "note", std::string(1'000, '\x01'));
    const Status refused = service.write(request).status();
    CHECK(refused.code() == StatusCode::kInvalidArgument);
    for (const char* part : {"doc:7$note", " bytes as JSON", "2000", "limits.attribute_json_bytes_max"}) {
      CHECK(message_of(refused).find(part) != std::string::npos);
    }
    request.mutable_attributes(0)->mutable_value()->PackFrom([] {
      base::v1::StringValue value;
      value.set_data(std::string(1'000, 'x'));
      return value;
    }());
    CHECK(service.write(request).ok());

    base::v1::BundleWriteRequest bundles;
    bundles.set_tenant_id("t");
    base::v1::DataBundle& bundle = *bundles.add_bundles();
    bundle.set_name("b");
    bundle.add_arguments("text");
    bundle.add_operations()->add_attributes_write("doc:7$note|string:{{.text}}");
    REQUIRE(service.write_bundles(bundles).ok());
    base::v1::BundleRunRequest run;
    run.set_tenant_id("t");
    run.set_name("b");
    (*run.mutable_arguments())["text"] = std::string(3'000, 'x');
    CHECK(service.run_bundle(run).status().code() == StatusCode::kInvalidArgument);
    (*run.mutable_arguments())["text"] = "short";
    CHECK(service.run_bundle(run).ok());
  }
}

}  // namespace headgate::engine
