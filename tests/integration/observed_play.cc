#include <google/protobuf/any.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "base/v1/service.grpc.pb.h"
#include "tests/integration/observed.h"
#include "tests/support/test_main.h"

namespace headgate::testing {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using std::chrono::milliseconds;

// What a stream is given to start, and to send one message too many.
constexpr milliseconds kSettle{600};

std::string code_name(grpc::StatusCode code) {
  static const std::vector<std::string> names = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return names.at(static_cast<size_t>(code));
}

std::string run_id() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 12; ++i) id += "0123456789abcdef"[random() % 16];
  return id;
}

std::unique_ptr<Message> new_message(const Descriptor* type) {
  return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// The JSON writer leaves out defaults inside of an Any; recorded answers have them.
void complete_values(Json& json) {
  static const std::map<std::string, Json> defaults = {{"String", ""},
                                                       {"Boolean", false},
                                                       {"Integer", 0},
                                                       {"Double", 0.0},
                                                       {"StringArray", Json::array()},
                                                       {"BooleanArray", Json::array()},
                                                       {"IntegerArray", Json::array()},
                                                       {"DoubleArray", Json::array()}};
  if (json.is_object() && json.contains("@type") && !json.contains("data")) {
    const std::string type = json["@type"];
    for (const auto& [name, value] : defaults) {
      if (type == "type.googleapis.com/base.v1." + name + "Value") json["data"] = value;
    }
  }
  if (json.is_structured()) {
    for (Json& inner : json) complete_values(inner);
  }
}

Json to_json(const Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) throw std::runtime_error("cannot write as JSON: " + status.ToString());
  Json json = Json::parse(text);
  complete_values(json);
  return json;
}

void from_json(const Json& json, Message& message) {
  const auto status = google::protobuf::util::JsonStringToMessage(json.dump(), &message);
  if (!status.ok()) throw std::runtime_error("cannot read " + json.dump() + ": " + status.ToString());
}

// Overwrites the Any at `path`, for values that JSON cannot say.
void put_any(Message* message, const std::string& path, const std::string& type_url, const std::string& value) {
  const size_t dot = path.find('.');
  const auto* field = message->GetDescriptor()->FindFieldByName(path.substr(0, dot));
  const auto* reflection = message->GetReflection();
  std::string rest = dot == std::string::npos ? "" : path.substr(dot + 1);
  Message* inner = nullptr;
  if (field->is_repeated()) {
    const size_t next = rest.find('.');
    inner = reflection->MutableRepeatedMessage(message, field, std::stoi(rest.substr(0, next)));
    rest = next == std::string::npos ? "" : rest.substr(next + 1);
  } else {
    inner = reflection->MutableMessage(message, field);
  }
  if (!rest.empty()) return put_any(inner, rest, type_url, value);
  auto* any = dynamic_cast<google::protobuf::Any*>(inner);
  any->set_type_url(type_url);
  any->set_value(value);
}

std::string from_base64(const std::string& text) {
  static const std::string kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(kAlphabet.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 255);
  }
  return out;
}

// A Watch stream read by a thread of its own.
class Stream {
 public:
  Stream(const std::shared_ptr<grpc::Channel>& channel, const Json& request)
      : stub_(base::v1::Watch::NewStub(channel)) {
    from_json(request, request_);
    thread_ = std::jthread([this] { read(); });
  }
  ~Stream() { context_.TryCancel(); }

  size_t size() {
    std::lock_guard lock(mutex_);
    return messages_.size();
  }
  bool ended() {
    std::lock_guard lock(mutex_);
    return !end_.is_null();
  }
  Json messages() {
    std::lock_guard lock(mutex_);
    return messages_;
  }
  Json end() {
    std::lock_guard lock(mutex_);
    return end_.is_null() ? Json{{"code", "open"}} : end_;
  }

 private:
  void read() {
    auto reader = stub_->Watch(&context_, request_);
    base::v1::WatchResponse response;
    while (reader->Read(&response)) {
      std::lock_guard lock(mutex_);
      messages_.push_back(to_json(response));
    }
    const grpc::Status status = reader->Finish();
    std::lock_guard lock(mutex_);
    end_ = {{"code", code_name(status.error_code())}};
    if (!status.error_message().empty()) end_["message"] = status.error_message();
  }

  std::unique_ptr<base::v1::Watch::Stub> stub_;
  base::v1::WatchRequest request_;
  grpc::ClientContext context_;
  std::mutex mutex_;
  Json messages_ = Json::array();
  Json end_;
  std::jthread thread_;
};

class Player {
 public:
  Player(const Json& scenario, std::shared_ptr<grpc::Channel> channel)
      : scenario_(scenario), channel_(std::move(channel)), stub_(channel_), texts_(run_id()) {
    for (const Json& name : scenario.value("keep", Json::array())) keep_.insert(name.get<std::string>());
  }

  std::vector<Json> run() {
    if (scenario_.value("tenant", true)) call("Tenancy.Create", {{"id", "${T}"}, {"name", "${T}"}}, Json::object(), 0);
    std::vector<Json> answers;
    for (const Json& one : scenario_["steps"]) answers.push_back(step(one, one.at("expect")));
    leave_nothing();
    return answers;
  }

 private:
  Json step(const Json& one, const Json& expect) {
    if (one.contains("watch")) return watch(one, expect);
    const int times = one.value("times", 1);
    std::map<std::string, int> codes;
    Json result;
    for (int i = 0; i < times; ++i) {
      result = call(one["call"], one["body"], one, i);
      ++codes[result["code"]];
    }
    if (one.contains("times")) result["codes"] = codes;
    return result;
  }

  // Other scenarios list tenants. Data without a registered tenant is removed with one of its name.
  void leave_nothing() {
    const std::set<std::string> tenants = tenants_;
    for (const std::string& tenant : tenants) {
      call("Tenancy.Create", {{"id", tenant}, {"name", tenant}}, Json::object(), 0);
      call("Tenancy.Delete", {{"id", tenant}}, Json::object(), 0);
    }
  }

  // The answer in comparable form; saves what the step wants saved.
  Json call(const std::string& name, const Json& body, const Json& one, int number) {
    const std::string service = "base.v1." + name.substr(0, name.find('.'));
    const std::string method = name.substr(name.find('.') + 1);
    const auto* found = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    const MethodDescriptor* descriptor = found == nullptr ? nullptr : found->FindMethodByName(method);
    if (descriptor == nullptr) throw std::runtime_error("no such call: " + name);
    const std::unique_ptr<Message> request = new_message(descriptor->input_type());
    const Json filled = texts_.fill(body, number);
    from_json(filled, *request);
    const std::string tenant = filled.value(service == "base.v1.Tenancy" ? "id" : "tenant_id", "");
    if (texts_.is_of_this_run(tenant)) tenants_.insert(tenant);
    const Json anys = texts_.fill(one.value("any", Json::object()));
    for (const auto& [path, value] : anys.items()) {
      put_any(request.get(), path, value[0], from_base64(value[1]));
    }
    if (descriptor->server_streaming()) return lookup(*request);
    const std::unique_ptr<Message> response = new_message(descriptor->output_type());
    const grpc::Status status = send("/" + service + "/" + method, *request, *response);
    Json result = {{"code", code_name(status.error_code())}};
    if (!status.error_message().empty()) result["message"] = texts_.canonical(status.error_message(), keep_);
    const Json got = status.ok() ? to_json(*response) : Json::object();
    if (status.ok()) result["response"] = texts_.canonical(got, keep_);
    save(one, got);
    return result;
  }

  // The only call besides Watch that answers with a stream.
  Json lookup(const Message& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    const auto stub = base::v1::Permission::NewStub(channel_);
    const auto reader =
        stub->LookupEntityStream(&context, dynamic_cast<const base::v1::PermissionLookupEntityRequest&>(request));
    Json messages = Json::array();
    base::v1::PermissionLookupEntityStreamResponse message;
    while (reader->Read(&message)) messages.push_back(to_json(message));
    const grpc::Status status = reader->Finish();
    Json result = {{"code", code_name(status.error_code())}};
    if (!status.error_message().empty()) result["message"] = texts_.canonical(status.error_message(), keep_);
    if (status.ok()) result["response"] = texts_.canonical(messages, keep_);
    return result;
  }

  void save(const Json& one, const Json& got) {
    const Json wanted = one.value("save", Json::object());
    for (const auto& [variable, path] : wanted.items()) texts_.save(variable, path, got);
  }

  grpc::Status send(const std::string& path, const Message& request, Message& response) {
    grpc::ByteBuffer in;
    grpc::ByteBuffer out;
    bool own = false;
    grpc::Status status = grpc::SerializationTraits<Message>::Serialize(request, &in, &own);
    if (!status.ok()) return status;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    std::promise<grpc::Status> done;
    stub_.UnaryCall(&context, path, grpc::StubOptions(), &in, &out,
                    [&done](grpc::Status result) { done.set_value(std::move(result)); });
    status = done.get_future().get();
    if (status.ok()) status = grpc::SerializationTraits<Message>::Deserialize(&out, &response);
    return status;
  }

  Json watch(const Json& one, const Json& expect) {
    Stream stream(channel_, texts_.fill(one["watch"]));
    // Nothing on the wire tells when a stream has taken its position, so it is given the time of the recording.
    wait_until([&] { return stream.ended(); }, kSettle);
    Json inner = Json::array();
    for (size_t i = 0; i < one.value("then", Json::array()).size(); ++i) {
      inner.push_back(step(one["then"][i], expect["then"][i]));
    }
    const size_t recorded = expect.value("messages", Json::array()).size();
    const size_t wanted = recorded != 0 ? recorded : one.value("count", 1'000'000);
    const milliseconds limit(static_cast<int64_t>(1000 * one.value("expect_within", 8.0)));
    wait_until([&] { return stream.ended() || stream.size() >= wanted; }, limit);
    if (!stream.ended()) wait_until([&] { return stream.ended() || stream.size() > wanted; }, kSettle);
    const Json got = stream.messages();
    save(one, got);
    return {
        {"messages", texts_.canonical(got, keep_)}, {"end", texts_.canonical(stream.end(), keep_)}, {"then", inner}};
  }

  const Json& scenario_;
  std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  Texts texts_;
  std::set<std::string> keep_;
  std::set<std::string> tenants_;
};

}  // namespace

std::vector<Json> play(const Json& scenario, const std::shared_ptr<grpc::Channel>& channel) {
  return Player(scenario, channel).run();
}

}  // namespace headgate::testing
