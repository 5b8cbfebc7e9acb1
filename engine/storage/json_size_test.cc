// The bound of a change as JSON, over everything that JSON makes larger.
#include "engine/storage/json_size.h"

#include <google/protobuf/util/json_util.h>

#include <random>

#include "engine/storage/storage_fixture.h"

namespace headgate::engine {

namespace {

using namespace base::v1;

size_t printed(const DataChange& change) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  REQUIRE(google::protobuf::util::MessageToJsonString(change, &json, options).ok());
  return json.size() + 1;
}

std::string repeated(const std::string& one, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += one;
  return all;
}

template <typename Value, typename Data>
DataChange list_of(size_t count, const Data& data) {
  Value value;
  for (size_t i = 0; i < count; ++i) value.add_data(data);
  DataChange change;
  change.set_operation(DataChange::OPERATION_CREATE);
  change.mutable_attribute()->mutable_value()->PackFrom(value);
  return change;
}

DataChange change_of(Attribute attribute) {
  DataChange change;
  change.set_operation(DataChange::OPERATION_DELETE);
  *change.mutable_attribute() = std::move(attribute);
  return change;
}

std::vector<DataChange> adversaries() {
  std::vector<DataChange> all;
  for (const size_t count : {0, 1, 2, 300}) {
    for (const char* text : {"x",
                             "\x01",
                             "\x1f",
                             "\x7f",
                             "\"",
                             "\\",
                             "<",
                             ">",
                             "/",
                             "\n",
                             "\xc2\x80",
                             "\xc2\xad",
                             "\xc3\xa4",
                             "\xdc\x8f",
                             "\xe2\x80\xa8",
                             "\xe2\x80\x8b",
                             "\xef\xbf\xb9",
                             "\xef\xbb\xbf",
                             "\xe2\x82\xac",
                             "\xf0\x9d\x85\xb3",
                             "\xf0\x9f\x98\x80",
                             "\xf3\xa0\x80\x81"}) {
      all.push_back(change_of(attribute_of<StringValue>("1", "note", repeated(text, count))));
      all.push_back(list_of<StringArrayValue>(count, std::string(text)));
      DataChange tuple;
      tuple.set_operation(DataChange::OPERATION_DELETE);
      *tuple.mutable_tuple() =
          tuple_of(repeated(text, count), repeated(text, count), "owner", repeated(text, count), text);
      all.push_back(tuple);
    }
    all.push_back(list_of<StringArrayValue>(count, std::string()));
    all.push_back(list_of<BooleanArrayValue>(count, false));
    for (const int number : {0, 1, -1, 127, 128, 2'147'483'647, -2'147'483'647 - 1}) {
      all.push_back(list_of<IntegerArrayValue>(count, number));
    }
    for (const double number : {0.0, -1.2345678901234567e-300, 1e300, 0.1, std::numeric_limits<double>::infinity(),
                                -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
      all.push_back(list_of<DoubleArrayValue>(count, number));
    }
  }
  all.push_back(change_of(attribute_of<BooleanValue>("1", "note", false)));
  all.push_back(change_of(attribute_of<IntegerValue>("1", "note", -2'147'483'647)));
  all.push_back(change_of(attribute_of<DoubleValue>("1", "note", -1.2345678901234567e-300)));
  return all;
}

}  // namespace

TEST_SUITE("storage/json_size") {
  TEST_CASE("json size: the bound is never below what is printed, and not far above for what is usual") {
    for (const DataChange& change : adversaries()) {
      const size_t bound = json_bytes_at_most(change), size = printed(change);
      INFO(change.ShortDebugString().substr(0, 200));
      CHECK(bound >= size);
    }
    DataChange usual;
    *usual.mutable_tuple() = tuple_of("document", "d123456", "viewer", "alice");
    CHECK(json_bytes_at_most(usual) <= printed(usual) * 2);
    const DataChange note = change_of(attribute_of<StringValue>("1", "note", std::string(10'000, 'x')));
    CHECK(json_bytes_at_most(note) <= printed(note) * 11 / 10);
  }
}

}  // namespace headgate::engine
