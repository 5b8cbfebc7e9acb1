// Connecting to NATS, and owners for the library's objects. Reconnecting is left to Sink::open().
#pragma once

#include <nats/nats.h>

#include <memory>
#include <string>

#include "base/status.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/nats/settings.h"

namespace headgate::sinks {

struct NatsDeleter {
  void operator()(natsConnection* connection) const { natsConnection_Destroy(connection); }
  void operator()(natsSubscription* subscription) const { natsSubscription_Destroy(subscription); }
  void operator()(natsOptions* options) const { natsOptions_Destroy(options); }
  void operator()(natsMsg* message) const { natsMsg_Destroy(message); }
  void operator()(jsCtx* context) const { jsCtx_Destroy(context); }
  void operator()(jsStreamInfo* info) const { jsStreamInfo_Destroy(info); }
};
template <typename T>
using NatsOwned = std::unique_ptr<T, NatsDeleter>;

// Blocks for the connect time-out at most, for each server in turn. UNAVAILABLE when none answers, PERMISSION_DENIED
// when it lets nobody in with these credentials.
StatusOr<NatsOwned<natsConnection>> connect_to_nats(const NatsConnectionSettings& settings);

Status set_header(natsMsg* message, const std::string& name, const std::string& value);
// Empty when absent.
std::string header_of(natsMsg* message, const std::string& name);

// What the server has refused meanwhile, by errors that belong to no call: PERMISSION_DENIED for a subject that may not
// be published to. Known once a flush has returned, because the server sends them before its answer.
Status refusal_of(natsConnection* connection);

// By the table of base/refusals.h: INVALID_ARGUMENT for a message over the server's limit, PERMISSION_DENIED,
// DEADLINE_EXCEEDED for time-outs, else UNAVAILABLE. To be asked on the thread of the call that failed, right behind
// it.
Status status_of_nats(natsStatus status, std::string_view tried);
// Of a call to JetStream's API that answered `code`, 0 without one.
Status status_of_jetstream(natsConnection* connection, natsStatus status, int code, std::string_view tried);

}  // namespace headgate::sinks
