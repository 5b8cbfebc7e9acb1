// The wire contract: every message, field, enum word and call of base.v1 against a table, in both directions.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "base/v1/errors.pb.h"
#include "base/v1/service.pb.h"
#include "tests/support/test_main.h"

namespace headgate::testing {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

using Rows = std::set<std::string>;

std::string scalar_type(const FieldDescriptor* field) {
  if (field->message_type() != nullptr) return field->message_type()->full_name();
  if (field->enum_type() != nullptr) return field->enum_type()->full_name();
  return field->type_name();
}

std::string type_of(const FieldDescriptor* field) {
  if (field->is_map()) {
    const Descriptor* entry = field->message_type();
    return "map<" + scalar_type(entry->map_key()) + ", " + scalar_type(entry->map_value()) + ">";
  }
  std::string type = (field->is_repeated() ? "repeated " : "") + scalar_type(field);
  if (field->real_containing_oneof() != nullptr) type += " (oneof " + field->real_containing_oneof()->name() + ")";
  return type;
}

void add_enum(const EnumDescriptor* type, Rows& rows) {
  for (int i = 0; i < type->value_count(); ++i) {
    const auto* value = type->value(i);
    rows.insert("enum\t" + type->full_name() + "\t" + std::to_string(value->number()) + "\t" + value->name());
  }
}

void add_message(const Descriptor* type, Rows& rows) {
  if (type->options().map_entry()) return;
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    rows.insert("field\t" + type->full_name() + "\t" + std::to_string(field->number()) + "\t" + field->name() + "\t" +
                type_of(field));
  }
  for (int i = 0; i < type->nested_type_count(); ++i) add_message(type->nested_type(i), rows);
  for (int i = 0; i < type->enum_type_count(); ++i) add_enum(type->enum_type(i), rows);
}

void add_file(const FileDescriptor* file, Rows& rows) {
  for (int i = 0; i < file->message_type_count(); ++i) add_message(file->message_type(i), rows);
  for (int i = 0; i < file->enum_type_count(); ++i) add_enum(file->enum_type(i), rows);
  for (int i = 0; i < file->service_count(); ++i) {
    const auto* service = file->service(i);
    for (int j = 0; j < service->method_count(); ++j) {
      const auto* method = service->method(j);
      const std::string in = (method->client_streaming() ? "stream " : "") + method->input_type()->full_name();
      const std::string out = (method->server_streaming() ? "stream " : "") + method->output_type()->full_name();
      rows.insert("rpc\t" + service->full_name() + "/" + method->name() + "\t" + in + "\t" + out);
    }
  }
}

Rows ours() {
  Rows rows;
  add_file(base::v1::Tuple::descriptor()->file(), rows);
  add_file(base::v1::ErrorCode_descriptor()->file(), rows);
  add_file(base::v1::DataWriteRequest::descriptor()->file(), rows);
  return rows;
}

Rows table() {
  std::ifstream in(std::string(HEADGATE_SOURCE_DIR) + "/tests/cases/wire.tsv");
  Rows rows;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line[0] != '#') rows.insert(line);
  }
  return rows;
}

Rows missing_in(const Rows& where, const Rows& all) {
  Rows out;
  std::set_difference(all.begin(), all.end(), where.begin(), where.end(), std::inserter(out, out.begin()));
  return out;
}

}  // namespace

TEST_SUITE("integration/descriptor") {
  TEST_CASE("descriptor: every field, word and call of the table is ours") {
    CHECK(table().size() > 350);
    for (const std::string& row : missing_in(ours(), table())) FAIL_CHECK("not in our contract: " << row);
  }

  TEST_CASE("descriptor: we have nothing that the table has not") {
    for (const std::string& row : missing_in(table(), ours())) FAIL_CHECK("only in our contract: " << row);
  }

  TEST_CASE("descriptor: JSON names are the names of the fields") {
    const auto* file = base::v1::DataWriteRequest::descriptor()->file();
    for (int i = 0; i < file->message_type_count(); ++i) {
      for (int j = 0; j < file->message_type(i)->field_count(); ++j) {
        const FieldDescriptor* field = file->message_type(i)->field(j);
        CHECK(field->json_name() == field->name());
      }
    }
  }
}

}  // namespace headgate::testing
