#include "tests/support/subscribers.h"

#include <google/protobuf/util/json_util.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/subscriber_base.h"

namespace headgate::testing {
namespace {

using std::chrono::milliseconds;

int64_t now_us() {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

template <typename Number>
bool parse_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

// "2026-11-21T15:04:05.000001Z"; 0 for anything else.
int64_t parse_time_us(const std::string& text) {
  std::tm utc{};
  int micros = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ", &utc.tm_year, &utc.tm_mon, &utc.tm_mday, &utc.tm_hour,
                  &utc.tm_min, &utc.tm_sec, &micros) != 7) {
    return 0;
  }
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  return static_cast<int64_t>(::timegm(&utc)) * 1'000'000 + micros;
}

std::string decode_base64(std::string_view text) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t word = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) break;
    word = word << 6 | static_cast<uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(word >> bits & 0xff);
    }
  }
  return out;
}

// "<tenant>/<xid>/<part>", and a suffix on control events.
bool parse_id(Received& event) {
  const std::string& id = event.id;
  if (id.compare(0, event.tenant.size() + 1, event.tenant + "/") != 0) return false;
  const std::string_view place = std::string_view(id).substr(event.tenant.size() + 1);
  const size_t slash = place.find('/');
  if (slash == std::string_view::npos || !parse_number(place.substr(0, slash), event.xid)) return false;
  const std::string_view rest = place.substr(slash + 1);
  return parse_number(rest.substr(0, rest.find('/')), event.part);
}

std::optional<Received> fail(std::string* error, std::string text) {
  if (error != nullptr) *error = std::move(text);
  return std::nullopt;
}

bool decode_data(const std::string& content_type, std::string_view data, base::v1::DataChanges& out) {
  if (content_type.rfind("application/json", 0) == 0) {
    return google::protobuf::util::JsonStringToMessage(std::string(data), &out).ok();
  }
  // Confluent's frame: byte 0, four bytes of schema id, message index 0. No DataChanges message begins with byte 0.
  if (data.size() >= 6 && data[0] == '\0') data.remove_prefix(6);
  return out.ParseFromArray(data.data(), static_cast<int>(data.size()));
}

}  // namespace

std::optional<Received> decode_binary(const AttributeSource& get, std::string_view data, std::string* error) {
  Received event;
  event.received_at_us = now_us();
  const auto text = [&](const char* name) { return get(name).value_or(""); };
  event.id = text("id");
  event.type = text("type");
  event.tenant = text("partitionkey");
  event.token = text("snaptoken");
  event.previous_token = text("previoustoken");
  event.incarnation = text("incarnation");
  event.reason = text("reason");
  event.snapshot = text("snapshotcontinuation");
  event.schema_version = text("schemaversion");
  event.previous_schema_version = text("previousschemaversion");
  event.late = text("late") == "true";
  event.more_parts = text("moreparts") == "true";
  event.started_at_us = parse_time_us(text("time"));
  if (text("specversion") != "1.0") return fail(error, "specversion '" + text("specversion") + "'");
  if (!parse_id(event)) return fail(error, "id '" + event.id + "' of tenant '" + event.tenant + "'");
  // A heartbeat for all tenants has neither tenant nor sequence.
  const bool of_tenant = !event.is_heartbeat() || !event.tenant.empty();
  if (of_tenant && event.tenant.empty()) return fail(error, event.id + ": no partitionkey");
  if (of_tenant && !parse_number(std::string_view(text("sequence")), event.sequence)) {
    return fail(error, event.id + ": sequence '" + text("sequence") + "'");
  }
  if (event.has_changes() && !decode_data(text("datacontenttype"), data, event.changes)) {
    return fail(error, event.id + ": data of type '" + text("datacontenttype") + "' cannot be decoded");
  }
  return event;
}

std::optional<Received> decode_structured(std::string_view json, std::string* error) {
  const auto object = nlohmann::json::parse(json, nullptr, false);
  if (!object.is_object()) return fail(error, "not a JSON object: " + std::string(json.substr(0, 200)));
  const auto get = [&](const std::string& name) -> std::optional<std::string> {
    const auto it = object.find(name);
    if (it == object.end() || !it->is_string()) return std::nullopt;
    return it->get<std::string>();
  };
  if (const auto base64 = get("data_base64")) return decode_binary(get, decode_base64(*base64), error);
  return decode_binary(get, object.contains("data") ? object["data"].dump() : "", error);
}

std::vector<Received> SubscriberBase::received() const {
  std::lock_guard lock(mutex_);
  return events_;
}

size_t SubscriberBase::count() const {
  std::lock_guard lock(mutex_);
  return changes_;
}

std::vector<std::string> SubscriberBase::faults() const {
  std::lock_guard lock(mutex_);
  return faults_;
}

bool SubscriberBase::wait_for(size_t count, milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return changes_ >= count; });
}

bool SubscriberBase::wait_for_all(size_t count, milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return events_.size() >= count; });
}

bool SubscriberBase::wait_ready(milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return ready_; });
}

void SubscriberBase::on_event(std::function<void(const Received&)> callback) {
  std::lock_guard lock(mutex_);
  callback_ = std::move(callback);
}

void SubscriberBase::start() {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

void SubscriberBase::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void SubscriberBase::set_ready() {
  std::lock_guard lock(mutex_);
  ready_ = true;
  changed_.notify_all();
}

void SubscriberBase::add(std::optional<Received> event, const std::string& fault) {
  std::lock_guard lock(mutex_);
  if (event) {
    if (callback_) callback_(*event);
    if (event->is_changes()) ++changes_;
    events_.push_back(*std::move(event));
  } else {
    faults_.push_back(kind_ + ": " + fault);
  }
  changed_.notify_all();
}

HostPort split_address(const std::string& address) {
  const size_t scheme = address.find("://");
  const std::string rest = scheme == std::string::npos ? address : address.substr(scheme + 3);
  const size_t colon = rest.rfind(':');
  return {rest.substr(0, colon), std::atoi(rest.c_str() + (colon == std::string::npos ? rest.size() : colon + 1))};
}

void pause(std::stop_token stop, milliseconds time) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace headgate::testing
