#include "tests/bench/bench_events.h"

#include <stdexcept>

#include "base/snap_token.h"
#include "base/v1/base.pb.h"
#include "sinks/encoding/cloud_event.h"

namespace headgate::bench {
namespace {

constexpr size_t kTenants = 4;

std::string payload_of(size_t i, const std::string& token) {
  ::base::v1::DataChanges changes;
  changes.set_snap_token(token);
  auto* change = changes.add_data_changes();
  change->set_operation(::base::v1::DataChange::OPERATION_CREATE);
  auto* tuple = change->mutable_tuple();
  tuple->mutable_entity()->set_type("doc");
  tuple->mutable_entity()->set_id("d" + std::to_string(i));
  tuple->set_relation("owner");
  tuple->mutable_subject()->set_type("user");
  tuple->mutable_subject()->set_id("u" + std::to_string(i % 1000));
  return changes.SerializeAsString();
}

}  // namespace

std::vector<sinks::Delivery> memory_deliveries(size_t count) {
  std::vector<sinks::Delivery> deliveries;
  deliveries.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    auto event = std::make_shared<sinks::Event>();
    event->tenant = "bulk" + std::to_string(i % kTenants);
    event->xid = 1'000'000 + i;
    event->snap_token = encode_legacy_token(event->xid);
    event->incarnation = "7301234567890123456-1";
    event->started_at_us = 1'763'737'445'000'001 + static_cast<int64_t>(i);
    event->payload = payload_of(i, event->snap_token);
    sinks::Delivery delivery{std::move(event), i / kTenants + 1, ""};
    if (i >= kTenants) delivery.previous_token = deliveries[i - kTenants].event->snap_token;
    deliveries.push_back(std::move(delivery));
  }
  return deliveries;
}

std::vector<WireEvent> wire_events(const std::vector<sinks::Delivery>& deliveries) {
  const auto encoder = sinks::Encoder::make({});
  std::vector<WireEvent> events;
  sinks::Encoded encoded;
  for (const sinks::Delivery& delivery : deliveries) {
    WireEvent event;
    event.tenant = delivery.event->tenant;
    if (!encoder->encode(delivery, encoded).ok() || !encoder->encode_structured(delivery, event.line).ok()) {
      throw std::logic_error("an event that cannot be encoded");
    }
    for (const auto& [name, value] : encoded) event.attributes.emplace_back(name, value);
    event.attributes.emplace_back("datacontenttype", encoded.content_type());
    event.data = encoded.data();
    event.line += '\n';
    events.push_back(std::move(event));
  }
  return events;
}

}  // namespace headgate::bench
