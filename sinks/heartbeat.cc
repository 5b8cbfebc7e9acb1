#include "sinks/heartbeat.h"

namespace headgate::sinks {
namespace {

Delivery delivery_of(const Heartbeat& heartbeat, const TenantMark& mark) {
  auto event = std::make_shared<Event>();
  event->kind = EventKind::kHeartbeat;
  event->tenant = mark.tenant;
  event->xid = heartbeat.position;
  event->snap_token = heartbeat.snap_token;
  event->incarnation = heartbeat.incarnation;
  event->started_at_us = heartbeat.now_us;
  return {std::move(event), mark.sequence, mark.snap_token};
}

}  // namespace

std::vector<Delivery> heartbeat_deliveries(const Heartbeat& heartbeat) {
  if (heartbeat.tenants.empty()) return {delivery_of(heartbeat, {})};
  std::vector<Delivery> deliveries;
  deliveries.reserve(heartbeat.tenants.size());
  for (const TenantMark& mark : heartbeat.tenants) deliveries.push_back(delivery_of(heartbeat, mark));
  return deliveries;
}

}  // namespace headgate::sinks
