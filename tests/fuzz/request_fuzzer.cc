// Requests at the edge: the first line names a message of base.v1, the rest is its JSON, or its bytes when it does not
// begin with '{'. The field rules judge it, and data that passed them is checked against a schema.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include "base/v1/service.pb.h"
#include "engine/rpc/validation.h"
#include "engine/schema/schema.h"
#include "engine/write/validation.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

using google::protobuf::Message;

constexpr std::string_view kSchema =
    "entity user {}\nentity group {\n relation member @user @group#member\n}\n"
    "entity doc {\n relation owner @user\n relation viewer @user @group#member\n attribute flag boolean\n"
    " attribute flags boolean[]\n attribute title string\n attribute tags string[]\n attribute size integer\n"
    " attribute sizes integer[]\n attribute price double\n attribute prices double[]\n}\n";

std::unique_ptr<Message> read_request(std::string_view input) {
  Input parts(input);
  const std::string name = "base.v1." + std::string(parts.line());
  const auto* type = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (type == nullptr) return nullptr;
  std::unique_ptr<Message> message(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  const std::string body(parts.rest());
  const bool is_json = !body.empty() && body.front() == '{';
  const bool read =
      is_json ? google::protobuf::util::JsonStringToMessage(body, message.get()).ok() : message->ParseFromString(body);
  return read ? std::move(message) : nullptr;
}

bool is_plain(const std::string& text, size_t bytes_max, std::string_view more) {
  return !text.empty() && text.size() <= bytes_max && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c < 0x80 && std::isalpha(c)) || more.find(static_cast<char>(c)) != std::string_view::npos;
  });
}
bool is_id(const std::string& text) { return text == "*" || is_plain(text, 128, "0123456789_-@.:+"); }
bool is_name(const std::string& text) { return is_plain(text, 64, "_"); }

void demand_plain(const base::v1::Tuple& tuple) {
  demand(is_name(tuple.entity().type()) && is_id(tuple.entity().id()) && is_name(tuple.relation()) &&
             is_name(tuple.subject().type()) && is_id(tuple.subject().id()),
         "a tuple passes that cannot be stored: {}", tuple.ShortDebugString());
}

// What is quoted into statements would end there.
bool holds_zero_byte(const base::v1::DataDeleteRequest& request) {
  std::string all = request.tuple_filter().relation() + request.tuple_filter().entity().type() +
                    request.attribute_filter().entity().type() + request.tuple_filter().subject().type();
  for (const auto* texts : {&request.tuple_filter().entity().ids(), &request.tuple_filter().subject().ids(),
                            &request.attribute_filter().entity().ids(), &request.attribute_filter().attributes()}) {
    for (const std::string& text : *texts) all += text;
  }
  return all.find('\0') != std::string::npos;
}

template <typename T>
void demand_distinct(const google::protobuf::RepeatedPtrField<T>& items) {
  const std::vector<T> once = engine::distinct(items);
  const google::protobuf::RepeatedPtrField<T> kept(once.begin(), once.end());
  demand(once.size() <= static_cast<size_t>(items.size()) && (once.empty() == items.empty()), "items are lost");
  demand(engine::distinct(kept).size() == once.size(), "repetitions stay");
}

void check_data(const base::v1::DataWriteRequest& request) {
  static const base::v1::SchemaDefinition schema = engine::compile_schema(kSchema)->definition;
  demand_distinct(request.tuples());
  demand_distinct(request.attributes());
  for (const base::v1::Tuple& tuple : request.tuples()) {
    demand_plain(tuple);
    const Status status = engine::validate(tuple, schema);
    if (!status.ok()) demand_refusal(status, {StatusCode::kInvalidArgument, StatusCode::kNotFound});
  }
  for (const base::v1::Attribute& attribute : request.attributes()) {
    const Status status = engine::validate(attribute, schema);
    if (!status.ok()) {
      demand_refusal(status, {StatusCode::kInvalidArgument, StatusCode::kNotFound, StatusCode::kInternal});
    }
  }
}

}  // namespace

void request_target(std::string_view input) {
  static const engine::Validator validator;
  const std::unique_ptr<Message> request = read_request(input);
  if (request == nullptr) return;
  const Status status = validator.check(*request);
  if (!status.ok()) {
    demand_refusal(status, {StatusCode::kInvalidArgument});
    demand(status.message().find("invalid ") == 0, "a refusal of another form: {}", message_of(status));
    return;
  }
  // The one request of the API without a rule for it.
  const bool any_tenant = request->GetDescriptor()->name() == "PermissionEntityFilterRequest";
  const auto* tenant = request->GetDescriptor()->FindFieldByName("tenant_id");
  if (tenant != nullptr && !any_tenant && request->GetDescriptor()->file()->name() == "base/v1/service.proto") {
    demand(is_id(request->GetReflection()->GetString(*request, tenant)), "a tenant passes that is none");
  }
  if (const auto* removal = google::protobuf::DynamicCastToGenerated<base::v1::DataDeleteRequest>(request.get())) {
    demand(!holds_zero_byte(*removal), "a filter passes that would be cut: {}", removal->ShortDebugString());
  }
  if (const auto* data = google::protobuf::DynamicCastToGenerated<base::v1::DataWriteRequest>(request.get())) {
    check_data(*data);
  }
}

}  // namespace headgate::fuzz
