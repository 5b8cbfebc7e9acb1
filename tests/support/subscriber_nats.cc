#include <nats/nats.h>

#include "tests/support/subscriber_base.h"

namespace headgate::testing {
namespace {

using std::chrono::milliseconds;

// Percent-encoded as header values are.
std::string decode_header(const char* text) {
  std::string out;
  for (const char* c = text; *c != '\0'; ++c) {
    unsigned byte = 0;
    if (*c == '%' && std::sscanf(c + 1, "%2x", &byte) == 1) {
      out += static_cast<char>(byte);
      c += 2;
    } else {
      out += *c;
    }
  }
  return out;
}

class NatsSubscriber : public SubscriberBase {
 public:
  NatsSubscriber(std::string kind, const std::string& address) : SubscriberBase(std::move(kind)) {
    const HostPort parts = split_address(address);
    url_ = "nats://" + parts.host + ":" + std::to_string(parts.port);
  }

 protected:
  natsConnection* connect() const {
    natsOptions* options = nullptr;
    natsConnection* connection = nullptr;
    if (natsOptions_Create(&options) != NATS_OK) return nullptr;
    natsOptions_SetURL(options, url_.c_str());
    natsOptions_SetMaxReconnect(options, -1);
    natsOptions_SetReconnectWait(options, 50);
    natsOptions_SetTimeout(options, 1000);
    if (natsConnection_Connect(&connection, options) != NATS_OK) connection = nullptr;
    natsOptions_Destroy(options);
    return connection;
  }

  void take(natsMsg* message) {
    const auto get = [&](const std::string& name) -> std::optional<std::string> {
      const char* value = nullptr;
      const char* plain = nullptr;
      if (natsMsgHeader_Get(message, ("ce-" + name).c_str(), &value) != NATS_OK) return std::nullopt;
      // Both kinds of readers find the type of the data.
      const bool typed = natsMsgHeader_Get(message, "content-type", &plain) == NATS_OK;
      if (name == "datacontenttype" && (!typed || std::string_view(plain) != value)) return "(not in content-type)";
      return decode_header(value);
    };
    const std::string_view data(natsMsg_GetData(message), static_cast<size_t>(natsMsg_GetDataLength(message)));
    std::string error;
    auto event = decode_binary(get, data, &error);
    add(std::move(event), error + " on " + natsMsg_GetSubject(message));
    natsMsg_Destroy(message);
  }

 private:
  std::string url_;
};

class JetStreamSubscriber final : public NatsSubscriber {
 public:
  JetStreamSubscriber(const std::string& address, std::string stream, std::string subject)
      : NatsSubscriber("nats_jetstream", address), stream_(std::move(stream)), subject_(std::move(subject)) {
    set_ready();
    start();
  }
  ~JetStreamSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    while (!stop.stop_requested()) {
      natsConnection* connection = connect();
      jsCtx* jetstream = nullptr;
      if (connection != nullptr && natsConnection_JetStream(&jetstream, connection, nullptr) == NATS_OK) {
        while (!stop.stop_requested() && natsConnection_Status(connection) == NATS_CONN_STATUS_CONNECTED) {
          if (!read(jetstream, stop)) pause(stop, milliseconds(50));
        }
      }
      jsCtx_Destroy(jetstream);
      natsConnection_Destroy(connection);
      pause(stop, milliseconds(50));
    }
  }

 private:
  // An ordered consumer behind what we have, until something breaks. False when there is no stream yet.
  bool read(jsCtx* jetstream, std::stop_token stop) {
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Stream = stream_.c_str();
    options.Ordered = true;
    options.Config.DeliverPolicy = js_DeliverByStartSequence;
    options.Config.OptStartSeq = last_ + 1;
    natsSubscription* subscription = nullptr;
    if (js_SubscribeSync(&subscription, jetstream, subject_.c_str(), nullptr, &options, nullptr) != NATS_OK)
      return false;
    natsSubscription_SetPendingLimits(subscription, -1, -1);
    while (!stop.stop_requested()) {
      natsMsg* message = nullptr;
      const natsStatus status = natsSubscription_NextMsg(&message, subscription, 100);
      if (status == NATS_TIMEOUT) continue;
      if (status != NATS_OK) break;
      jsMsgMetaData* place = nullptr;
      if (natsMsg_GetMetaData(&place, message) == NATS_OK) {
        last_ = place->Sequence.Stream;
        jsMsgMetaData_Destroy(place);
      }
      take(message);
    }
    natsSubscription_Destroy(subscription);
    return true;
  }

  const std::string stream_;
  const std::string subject_;
  uint64_t last_ = 0;
};

class CoreSubscriber final : public NatsSubscriber {
 public:
  CoreSubscriber(const std::string& address, std::string subject)
      : NatsSubscriber("nats_core", address), subject_(std::move(subject)) {
    start();
  }
  ~CoreSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    while (!stop.stop_requested()) {
      natsConnection* connection = connect();
      natsSubscription* subscription = nullptr;
      if (connection != nullptr &&
          natsConnection_SubscribeSync(&subscription, connection, subject_.c_str()) == NATS_OK) {
        natsSubscription_SetPendingLimits(subscription, -1, -1);
        // The library subscribes again by itself when the server comes back.
        if (natsConnection_FlushTimeout(connection, 1000) == NATS_OK) set_ready();
        listen(subscription, stop);
      }
      natsSubscription_Destroy(subscription);
      natsConnection_Destroy(connection);
      pause(stop, milliseconds(50));
    }
  }

 private:
  void listen(natsSubscription* subscription, std::stop_token stop) {
    while (!stop.stop_requested()) {
      natsMsg* message = nullptr;
      const natsStatus status = natsSubscription_NextMsg(&message, subscription, 100);
      if (status == NATS_OK) {
        take(message);
      } else if (status != NATS_TIMEOUT) {
        return;
      }
    }
  }

  const std::string subject_;
};

}  // namespace

std::unique_ptr<Subscriber> subscribe_jetstream(const std::string& address, const std::string& stream,
                                                const std::string& subject) {
  return std::make_unique<JetStreamSubscriber>(address, stream, subject);
}

std::unique_ptr<Subscriber> subscribe_nats_core(const std::string& address, const std::string& subject) {
  return std::make_unique<CoreSubscriber>(address, subject);
}

}  // namespace headgate::testing
