#include "tests/support/engine_client.h"

#include <google/protobuf/duration.pb.h>

#include <algorithm>
#include <stdexcept>

#include "tests/support/engine_stubs.h"

namespace headgate::testing {

namespace pb = ::base::v1;

namespace {

pb::Attribute make_attribute(const std::string& type, const std::string& id, const std::string& name,
                             const google::protobuf::Message& value) {
  pb::Attribute attribute;
  attribute.mutable_entity()->set_type(type);
  attribute.mutable_entity()->set_id(id);
  attribute.set_attribute(name);
  attribute.mutable_value()->PackFrom(value, "type.googleapis.com");
  return attribute;
}

template <typename Array>
std::string joined(const Array& array) {
  std::string text = "[";
  for (const auto& item : array.data()) {
    if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::string>) {
      text += item + ",";
    } else {
      text += std::to_string(item) + ",";
    }
  }
  return text + "]";
}

template <typename Value>
bool unpack(const google::protobuf::Any& any, Value& value) {
  return any.Is<Value>() && any.UnpackTo(&value);
}

std::string value_text(const google::protobuf::Any& any) {
  if (pb::BooleanValue value; unpack(any, value)) return value.data() ? "true" : "false";
  if (pb::IntegerValue value; unpack(any, value)) return std::to_string(value.data());
  if (pb::DoubleValue value; unpack(any, value)) return std::to_string(value.data());
  if (pb::StringValue value; unpack(any, value)) return "\"" + value.data() + "\"";
  if (pb::BooleanArrayValue value; unpack(any, value)) return joined(value);
  if (pb::IntegerArrayValue value; unpack(any, value)) return joined(value);
  if (pb::DoubleArrayValue value; unpack(any, value)) return joined(value);
  if (pb::StringArrayValue value; unpack(any, value)) return joined(value);
  return "?" + any.type_url();
}

void demand(const grpc::Status& status, const std::string& what) {
  if (!status.ok()) {
    throw std::runtime_error(what + ": " + std::to_string(status.error_code()) + " " + status.error_message());
  }
}

}  // namespace

pb::Tuple tuple_of(const std::string& text) {
  const size_t at = text.find('@');
  const size_t hash = text.find('#');
  const std::string left = text.substr(0, hash);
  const std::string right = text.substr(at + 1);
  const size_t right_hash = std::min(right.find('#'), right.size());
  pb::Tuple tuple;
  tuple.mutable_entity()->set_type(left.substr(0, left.find(':')));
  tuple.mutable_entity()->set_id(left.substr(left.find(':') + 1));
  tuple.set_relation(text.substr(hash + 1, at - hash - 1));
  tuple.mutable_subject()->set_type(right.substr(0, right.find(':')));
  tuple.mutable_subject()->set_id(right.substr(right.find(':') + 1, right_hash - right.find(':') - 1));
  if (right_hash < right.size()) tuple.mutable_subject()->set_relation(right.substr(right_hash + 1));
  return tuple;
}

std::string text_of(const pb::Tuple& tuple) {
  const auto& subject = tuple.subject();
  return tuple.entity().type() + ":" + tuple.entity().id() + "#" + tuple.relation() + "@" + subject.type() + ":" +
         subject.id() + (subject.relation().empty() ? "" : "#" + subject.relation());
}

pb::Attribute make_boolean(const std::string& type, const std::string& id, const std::string& name, bool value) {
  pb::BooleanValue message;
  message.set_data(value);
  return make_attribute(type, id, name, message);
}

pb::Attribute make_integer(const std::string& type, const std::string& id, const std::string& name, int value) {
  pb::IntegerValue message;
  message.set_data(value);
  return make_attribute(type, id, name, message);
}

std::string text_of(const pb::DataChange& change) {
  const std::string sign = change.operation() == pb::DataChange::OPERATION_CREATE   ? "+"
                           : change.operation() == pb::DataChange::OPERATION_DELETE ? "-"
                                                                                    : "?";
  if (change.has_tuple()) return sign + text_of(change.tuple());
  const pb::Attribute& attribute = change.attribute();
  return sign + attribute.entity().type() + ":" + attribute.entity().id() + "$" + attribute.attribute() + "=" +
         value_text(attribute.value());
}

std::vector<std::string> texts_of(const pb::DataChanges& changes) {
  std::vector<std::string> texts;
  for (const pb::DataChange& change : changes.data_changes()) texts.push_back(text_of(change));
  return texts;
}

namespace {

// Field `number` (length-delimited) of a serialised message: enough to read google.rpc.Status without its generated
// code.
std::vector<std::string> fields(const std::string& bytes, uint32_t number) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  std::vector<std::string> found;
  while (const uint32_t tag = in.ReadTag()) {
    const uint32_t wire = tag & 7;
    std::string text;
    uint64_t skipped = 0;
    if (wire == 2) {
      uint32_t size = 0;
      if (!in.ReadVarint32(&size) || !in.ReadString(&text, static_cast<int>(size))) break;
      if (tag >> 3 == number) found.push_back(text);
    } else if (wire != 0 || !in.ReadVarint64(&skipped)) {
      break;
    }
  }
  return found;
}

}  // namespace

std::string error_reason(const grpc::Status& status) {
  for (const std::string& detail : fields(status.error_details(), 3)) {
    google::protobuf::Any any;
    if (!any.ParseFromString(detail) || any.type_url() != "type.googleapis.com/google.rpc.ErrorInfo") continue;
    const std::vector<std::string> reasons = fields(any.value(), 1);
    return reasons.empty() ? "" : reasons.front();
  }
  return "";
}

std::optional<std::chrono::milliseconds> retry_hint(const grpc::Status& status) {
  for (const std::string& detail : fields(status.error_details(), 3)) {
    google::protobuf::Any any;
    if (!any.ParseFromString(detail) || any.type_url() != "type.googleapis.com/google.rpc.RetryInfo") continue;
    google::protobuf::Duration delay;
    const std::vector<std::string> delays = fields(any.value(), 1);
    if (!delays.empty() && !delay.ParseFromString(delays.front())) return std::nullopt;
    return std::chrono::milliseconds(delay.seconds() * 1000 + delay.nanos() / 1'000'000);
  }
  return std::nullopt;
}

void set_deadline(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

EngineClient::EngineClient(const std::string& address)
    : channel_([&] {
        grpc::ChannelArguments arguments;
        // A channel of its own, and quick to come back after a restart of the server.
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
        arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
        arguments.SetMaxReceiveMessageSize(-1);
        return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
      }()),
      stubs_(std::make_unique<EngineStubs>(channel_)) {}

EngineClient::~EngineClient() = default;

void EngineClient::create_tenant(const std::string& id, const std::string& schema) {
  {
    grpc::ClientContext context;
    set_deadline(context);
    pb::TenantCreateRequest request;
    request.set_id(id);
    request.set_name(id);
    pb::TenantCreateResponse response;
    demand(stubs_->tenancy->Create(&context, request, &response), "create tenant " + id);
  }
  grpc::ClientContext context;
  set_deadline(context);
  pb::SchemaWriteRequest request;
  request.set_tenant_id(id);
  request.set_schema(schema);
  pb::SchemaWriteResponse response;
  demand(stubs_->schema->Write(&context, request, &response), "write schema of " + id);
}

WriteAnswer EngineClient::write(const std::string& tenant, const std::vector<pb::Tuple>& tuples,
                                const std::vector<pb::Attribute>& attributes) {
  grpc::ClientContext context;
  set_deadline(context);
  pb::DataWriteRequest request;
  request.set_tenant_id(tenant);
  request.mutable_metadata();
  for (const pb::Tuple& tuple : tuples) *request.add_tuples() = tuple;
  for (const pb::Attribute& attribute : attributes) *request.add_attributes() = attribute;
  pb::DataWriteResponse response;
  const grpc::Status status = stubs_->data->Write(&context, request, &response);
  return {status, response.snap_token()};
}

WriteAnswer EngineClient::remove(const std::string& tenant, const std::string& type, const std::string& id) {
  grpc::ClientContext context;
  set_deadline(context);
  pb::DataDeleteRequest request;
  request.set_tenant_id(tenant);
  request.mutable_tuple_filter()->mutable_entity()->set_type(type);
  request.mutable_tuple_filter()->mutable_entity()->add_ids(id);
  request.mutable_attribute_filter();
  pb::DataDeleteResponse response;
  const grpc::Status status = stubs_->data->Delete(&context, request, &response);
  return {status, response.snap_token()};
}

std::vector<std::string> EngineClient::tuples_at(const std::string& tenant, const std::string& token) {
  std::vector<std::string> texts;
  std::string page;
  do {
    grpc::ClientContext context;
    set_deadline(context);
    pb::RelationshipReadRequest request;
    request.set_tenant_id(tenant);
    request.mutable_metadata()->set_snap_token(token);
    request.mutable_filter();
    request.set_page_size(100);
    request.set_continuous_token(page);
    pb::RelationshipReadResponse response;
    demand(stubs_->data->ReadRelationships(&context, request, &response), "read relationships of " + tenant);
    for (const pb::Tuple& tuple : response.tuples()) texts.push_back(text_of(tuple));
    page = response.continuous_token();
  } while (!page.empty());
  std::sort(texts.begin(), texts.end());
  return texts;
}

WatchReader::WatchReader(EngineClient& client, std::string tenant, std::string token)
    : client_(client), tenant_(std::move(tenant)), token_(std::move(token)), thread_([this] { run(); }) {}

WatchReader::~WatchReader() {
  context_.TryCancel();
  thread_.join();
}

void WatchReader::run() {
  pb::WatchRequest request;
  request.set_tenant_id(tenant_);
  request.set_snap_token(token_);
  const auto stream = client_.stubs().watch->Watch(&context_, request);
  stream->WaitForInitialMetadata();
  {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  pb::WatchResponse response;
  while (stream->Read(&response)) {
    std::lock_guard lock(mutex_);
    messages_.push_back(std::move(*response.mutable_changes()));
    changed_.notify_all();
  }
  const grpc::Status status = stream->Finish();
  std::lock_guard lock(mutex_);
  ended_ = true;
  ended_at_ = std::chrono::steady_clock::now();
  status_ = status;
  changed_.notify_all();
}

std::vector<pb::DataChanges> WatchReader::messages() const {
  std::lock_guard lock(mutex_);
  return messages_;
}

size_t WatchReader::count() const {
  std::lock_guard lock(mutex_);
  return messages_.size();
}

bool WatchReader::wait_for(size_t count, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return messages_.size() >= count || ended_; }) &&
         messages_.size() >= count;
}

bool WatchReader::wait_open(std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return open_; });
}

bool WatchReader::wait_end(std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return ended_; });
}

std::chrono::steady_clock::time_point WatchReader::ended_at() const {
  std::lock_guard lock(mutex_);
  return ended_at_;
}

grpc::Status WatchReader::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace headgate::testing
