#include "tests/robustness/jetstream_admin.h"

#include <nats/nats.h>

#include <functional>
#include <memory>
#include <stdexcept>

namespace headgate::testing {

namespace {

void demand(natsStatus status, const char* what) {
  if (status != NATS_OK) throw std::runtime_error(std::string(what) + ": " + natsStatus_GetText(status));
}

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

void with_jetstream(const std::string& address, const std::function<void(jsCtx*)>& work) {
  natsConnection* raw = nullptr;
  demand(natsConnection_ConnectTo(&raw, ("nats://" + address).c_str()), "connect");
  const Owned<natsConnection> connection(raw, natsConnection_Destroy);
  jsCtx* context = nullptr;
  demand(natsConnection_JetStream(&context, raw, nullptr), "use JetStream");
  const Owned<jsCtx> owned(context, jsCtx_Destroy);
  work(context);
}

Owned<jsStreamInfo> info_of(jsCtx* context, const std::string& stream) {
  jsStreamInfo* info = nullptr;
  demand(js_GetStreamInfo(&info, context, stream.c_str(), nullptr, nullptr), "look at the stream");
  return {info, jsStreamInfo_Destroy};
}

void apply(const StreamLimits& limits, jsStreamConfig& config) {
  config.MaxBytes = limits.bytes_max;
  config.MaxMsgs = limits.messages_max;
  config.Discard = limits.drops_old ? js_DiscardOld : js_DiscardNew;
}

}  // namespace

StreamState stream_state(const std::string& address, const std::string& stream) {
  StreamState state;
  with_jetstream(address, [&](jsCtx* context) {
    const auto info = info_of(context, stream);
    state = {info->State.FirstSeq, info->State.Msgs, info->State.Bytes, info->State.NumSubjects};
  });
  return state;
}

void make_stream(const std::string& address, const std::string& stream, const std::string& subjects,
                 const StreamLimits& limits) {
  with_jetstream(address, [&](jsCtx* context) {
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    const char* list[] = {subjects.c_str()};
    config.Name = stream.c_str();
    config.Subjects = list;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    apply(limits, config);
    demand(js_AddStream(nullptr, context, &config, nullptr, nullptr), "make the stream");
  });
}

void change_stream(const std::string& address, const std::string& stream, const StreamLimits& limits) {
  with_jetstream(address, [&](jsCtx* context) {
    const auto info = info_of(context, stream);
    apply(limits, *info->Config);
    demand(js_UpdateStream(nullptr, context, info->Config, nullptr, nullptr), "change the stream");
  });
}

}  // namespace headgate::testing
