#include <google/protobuf/util/json_util.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/v1/base.pb.h"
#include "headgate/v1/event.pb.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {

namespace pb = ::base::v1;

TEST_SUITE("encoding/event_proto") {
  using google::protobuf::Descriptor;
  using google::protobuf::FieldDescriptor;

  // Fields of `ours` up to 1000 have number, type and label of those of `theirs`, and none is missing.
  void check_same_wire(const Descriptor& theirs, const Descriptor& ours) {
    for (int i = 0; i < theirs.field_count(); ++i) {
      const FieldDescriptor& field = *theirs.field(i);
      const FieldDescriptor* same = ours.FindFieldByNumber(field.number());
      REQUIRE_MESSAGE(same != nullptr, field.full_name());
      CHECK(same->name() == field.name());
      CHECK(same->type() == field.type());
      CHECK(same->label() == field.label());
      if (field.message_type() != nullptr) check_same_wire(*field.message_type(), *same->message_type());
      if (field.enum_type() != nullptr) {
        CHECK(field.enum_type()->value_count() == same->enum_type()->value_count());
        for (int v = 0; v < field.enum_type()->value_count(); ++v) {
          CHECK(same->enum_type()->FindValueByName(field.enum_type()->value(v)->name())->number() ==
                field.enum_type()->value(v)->number());
        }
      }
    }
    for (int i = 0; i < ours.field_count(); ++i) {
      if (ours.field(i)->number() <= 1000) CHECK(theirs.FindFieldByNumber(ours.field(i)->number()) != nullptr);
    }
  }

  TEST_CASE("event.proto: stands alone, and its first message is the payload") {
    const auto& file = *headgate::v1::Event::descriptor()->file();
    CHECK(file.dependency_count() == 0);
    CHECK(file.message_type(0) == headgate::v1::Event::descriptor());
    check_same_wire(*pb::DataChanges::descriptor(), *headgate::v1::Event::descriptor());
    for (int i = 1; i < file.message_type_count(); ++i) {
      const Descriptor& value = *file.message_type(i);
      const Descriptor* theirs = pb::DataChanges::descriptor()->file()->FindMessageTypeByName(value.name());
      REQUIRE_MESSAGE(theirs != nullptr, value.name());
      check_same_wire(*theirs, value);
    }
  }

  // How many changes there were.
  int check_as_event(const std::string& json) {
    pb::DataChanges changes;
    REQUIRE_MESSAGE(google::protobuf::util::JsonStringToMessage(json, &changes).ok(), json);
    const std::string bytes = changes.SerializeAsString();
    headgate::v1::Event event;
    REQUIRE(event.ParseFromString(bytes));
    CHECK(event.SerializeAsString() == bytes);
    headgate::v1::Event known = event;
    known.DiscardUnknownFields();
    CHECK(known.Utf8DebugString() == event.Utf8DebugString());
    CHECK(event.data_changes_size() == changes.data_changes_size());
    return event.data_changes_size();
  }

  TEST_CASE("event.proto: reads every observed change without a rest, and writes the same bytes") {
    std::ifstream in(HEADGATE_CASES "/observed/watch.jsonl");
    int seen = 0;
    for (std::string line; std::getline(in, line);) {
      const auto script = nlohmann::json::parse(line);
      for (const auto& step : script["steps"]) {
        for (const auto& message : step.value("/expect/messages"_json_pointer, nlohmann::json::array())) {
          seen += check_as_event(message.at("changes").dump());
        }
      }
    }
    CHECK(seen > 10);
  }
}

}  // namespace headgate::sinks
