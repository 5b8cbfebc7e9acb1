// Events of every kind, format and binding, read by the CloudEvents SDKs of others.
#include <nlohmann/json.hpp>

#include "sinks/encoding/cloud_event.h"
#include "tests/examples/install.h"
#include "tests/support/servers.h"
#include "tests/support/test_main.h"

namespace headgate::testing {
namespace {

using namespace std::chrono_literals;
using sinks::Delivery;
using sinks::Encoded;
using sinks::Encoder;
using sinks::Event;
using sinks::EventKind;
using sinks::PayloadFormat;

std::string base64(std::string_view bytes) {
  const std::string text(bytes);
  std::string out;
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < text.size(); i += 3) {
    uint32_t word = 0;
    for (size_t n = 0; n < 3; ++n) word = word << 8 | (i + n < text.size() ? static_cast<uint8_t>(text[i + n]) : 0U);
    for (size_t n = 0; n < 4; ++n) out += i + n > text.size() ? '=' : kAlphabet[word >> (18 - 6 * n) & 63];
  }
  return out;
}

Delivery delivery_of(EventKind kind) {
  auto event = std::make_shared<Event>();
  event->kind = kind;
  event->tenant = "t1";
  event->xid = 7301;
  event->snap_token = "hRwAAAAAAAA=";
  event->incarnation = "7301-1";
  event->started_at_us = 1'763'737'445'123'456;
  if (has_changes(kind)) {
    base::v1::DataChanges changes;
    changes.set_snap_token(event->snap_token);
    base::v1::Tuple& tuple = *changes.add_data_changes()->mutable_tuple();
    tuple.mutable_entity()->set_type("document");
    tuple.mutable_entity()->set_id("d1");
    tuple.set_relation("viewer");
    event->payload = changes.SerializeAsString();
  }
  event->more_parts = kind == EventKind::kChanges;
  event->reason = kind == EventKind::kGap ? "HISTORY_GONE" : "";
  event->snapshot = kind == EventKind::kSnapshotPage || kind == EventKind::kSnapshotBegin ? "c25hcDow" : "";
  event->late = kind == EventKind::kTenantRemoved;
  event->schema_version = kind == EventKind::kSchemaChanged ? "d7b2k" : "";
  event->previous_schema_version = kind == EventKind::kSchemaChanged ? "d7a1c" : "";
  return {event, 42, "hBwAAAAAAAA="};
}

// One event as a sink of each kind sends it, with what a reader must find.
std::string lines_of(const Encoder& encoder, const Delivery& delivery, const std::string& name) {
  Encoded encoded;
  REQUIRE(encoder.encode(delivery, encoded).ok());
  nlohmann::json attributes = {{"datacontenttype", encoded.content_type()}};
  for (const sinks::Attribute& attribute : encoded) attributes[std::string(attribute.name)] = attribute.value;
  std::string lines;
  const auto add = [&](const char* sink, const std::string& prefix, const nlohmann::json& headers,
                       std::string_view body) {
    lines += nlohmann::json{{"name", name + " " + sink}, {"prefix", prefix},         {"headers", headers},
                            {"body", base64(body)},      {"attributes", attributes}, {"data", base64(encoded.data())}}
                 .dump() +
             "\n";
  };
  for (const auto& [sink, prefix] : {std::pair("kafka", "ce_"), std::pair("nats", "ce-")}) {
    nlohmann::json headers = {{"content-type", encoded.content_type()}};
    for (const sinks::Attribute& attribute : encoded) headers[prefix + std::string(attribute.name)] = attribute.value;
    if (std::string_view(sink) == "nats") headers["ce-datacontenttype"] = encoded.content_type();
    add(sink, prefix, headers, encoded.data());
  }
  std::string structured;
  REQUIRE(encoder.encode_structured(delivery, structured).ok());
  add("structured", "", nlohmann::json::object(), structured);
  return lines;
}

std::string all_lines() {
  std::string lines;
  for (const auto format : {PayloadFormat::kProtobuf, PayloadFormat::kJson, PayloadFormat::kConfluent}) {
    const auto encoder = Encoder::make({.format = format, .schema_id = 7, .registry = {}, .dataschema = ""});
    REQUIRE(encoder.ok());
    for (int kind = 0; kind <= static_cast<int>(EventKind::kSchemaChanged); ++kind) {
      const Delivery delivery = delivery_of(static_cast<EventKind>(kind));
      const auto word = sinks::kind_word(delivery.event->kind);
      lines += lines_of(*encoder, delivery, fmt::format("{} of format {}", word, static_cast<int>(format)));
    }
  }
  return lines;
}

void check_read(const Installed& reader, const std::string& name) {
  if (!reader.missing.empty()) HG_SKIP(reader.missing);
  const TempFolder folder;
  const std::string log = folder.path() + "/read.log";
  write_file(folder.path() + "/events.jsonl", all_lines());
  std::vector<std::string> argv = reader.command;
  argv.push_back(folder.path() + "/events.jsonl");
  Process process({.argv = argv, .log_file = log});
  const bool ended = process.wait(60s);
  CHECK_MESSAGE((ended && process.exit_code() == 0), read_file(log));
  CHECK_MESSAGE(read_file(log).find("read 81, failed 0") != std::string::npos, read_file(log));
  used_server(name);
}

}  // namespace

TEST_SUITE("interop/cloudevents") {
  TEST_CASE("the SDK for JavaScript reads every kind, format and binding, by the official JSON Schema") {
    check_read(install_node("tests/interop/cloudevents/node", "read.js"), "cloudevents (npm) 10.0.0");
  }
  TEST_CASE("the SDK for Python reads every kind, format and binding") {
    check_read(install_python("tests/interop/cloudevents/python", "read.py"), "cloudevents (PyPI) 1.12.0");
  }
  TEST_CASE("the SDK for Go reads every kind, format and binding") {
    check_read(install_go("tests/interop/cloudevents/go"), "cloudevents/sdk-go v2.15.2");
  }
}

}  // namespace headgate::testing
