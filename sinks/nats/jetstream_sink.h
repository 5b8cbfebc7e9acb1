// The JetStream sink.
//
// Every publish carries the number of the last message that this sink knows on the tenant's subject
// (Nats-Expected-Last-Subject-Sequence). The server stores it only if that is still the last one, so a stale owner, a
// repeated event or an event whose predecessor failed is refused rather than stored out of order.
//
// To keep many publishes in flight the number is predicted: with one publisher on a stream the next message gets the
// next number. A wrong prediction is refused too, never stored wrongly. The sink then sends one event a tenant at a
// time for a while (many tenants still in parallel).
//
// Predicted messages expect the number and the id of the stream's last message, which is our own one before them: they
// are a chain that ends at the first refusal. (The number alone would not do: somebody else's message may take the
// place of a refused one.) Two things follow. Once the server has compared a tenant's subject, nobody else's message
// can have come between for as long as the chain lasts, and the comparison, which makes the server read a message from
// its store, is left out. And one acknowledgement is good for all of the chain before it, so only every kLink-th
// message and the last one ask for it; what a missing or bad one leaves in doubt is sent again carefully, and refused
// where stored.
#pragma once

#include <unordered_map>

#include "sinks/encoding/route.h"
#include "sinks/nats/ack_inbox.h"
#include "sinks/nats/message.h"
#include "sinks/nats/nats_sinks.h"
#include "sinks/nats/stream_room.h"

namespace headgate::sinks {

// Names the owner who wrote a message.
inline constexpr char kJetStreamEpochHeader[] = "Headgate-Epoch";

class JetStreamSink : public Sink {
 public:
  JetStreamSink(std::string name, Encoder encoder, Route subject, HeartbeatRoutes heartbeats,
                JetStreamSettings settings);

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return max_event_bytes_; }
  Status open(std::stop_token stop) override;
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override;
  WriteResult write(const Batch& batch, std::stop_token stop) override;
  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override;
  void close() override;

 private:
  struct Tenant {
    std::string subject;
    uint64_t last = 0;           // number of the last message on the subject; 0: none
    std::optional<Cursor> held;  // what that message says
    uint64_t epoch = 0;          // and who wrote it
    uint64_t predicted = 0;      // `last` once everything in flight is stored
    uint64_t checked = 0;        // the chain_ in which the server has compared `last` with the subject
  };

  // One round: some deliveries of the batch go out, and each gets an answer, its own or its link's.
  struct Round {
    std::vector<size_t> indexes;         // into the batch, by number of the message
    std::vector<PublishAnswer> answers;  // by number
    std::vector<bool> answered;
    size_t link = 1;     // so many messages share an answer, which the last of them asks for
    size_t waiting = 0;  // messages whose answer is still to come
    bool failed = false;
    bool predicted = false;
    std::optional<size_t> refused;  // place in the batch of the first event that can never be stored

    bool asks(size_t number) const { return number % link == link - 1 || number + 1 == indexes.size(); }
    // Takes the answer to message `number` for all of its link.
    void take(const PublishAnswer& answer, size_t number);
    // Those behind the last one that asked, of the first `sent`: nobody will tell what became of them.
    void doubt_rest(size_t sent);
  };

  Status ensure_stream();
  // The least of our limit, the server's and the stream's.
  void learn_limit(const jsStreamConfig& config);
  void warn_of_drops(const jsStreamConfig& config);
  // True when the stream was taken for full and another look shows room.
  bool found_room();
  StatusOr<Tenant*> tenant_of(const std::string& id);
  // Looks at the subjects of tenants that have had no event since open().
  Status meet_tenants(const Batch& batch, std::stop_token stop);
  // Adds the tenants that have a subject in the stream and none of these cursors.
  Status find_unknown(const std::map<std::string, Cursor>& stored, std::map<std::string, Cursor>& found,
                      std::stop_token stop);
  Status await_heartbeat(size_t number, std::stop_token stop);
  // Reads the last message of the tenant's subject.
  Status look(Tenant& tenant);

  // Marks what the stream holds already.
  void skip_held(const Batch& batch, std::vector<bool>& done) const;
  // Of the events before `end`, those that are not done; with `one_each` the first of each tenant.
  static std::vector<size_t> pick(const Batch& batch, const std::vector<bool>& done, size_t end, bool one_each);
  Status run_round(const Batch& batch, Round& round, std::stop_token stop);
  // `reply` may be empty.
  Status publish(const Delivery& delivery, const Fence& fence, size_t number, Tenant& tenant,
                 std::optional<uint64_t> expected_stream_last, const std::string& reply);
  void add_conditions(const Delivery& delivery, size_t number, Tenant& tenant,
                      std::optional<uint64_t> expected_stream_last);
  Status take_answers(Round& round, size_t waiting_max, MonotonicTime deadline, std::stop_token stop);
  // Marks what is stored; the status of the first event that will not be.
  Status settle(const Batch& batch, Round& round, std::vector<bool>& done);
  Status settle_conflict(const Delivery& delivery, const Fence& fence, Tenant& tenant, bool& done);

  const SinkInfo info_;
  const Encoder encoder_;
  const Route subject_;
  const HeartbeatRoutes heartbeats_;
  const JetStreamSettings settings_;

  // Cut in reverse order: the inbox belongs to the connection.
  NatsOwned<natsConnection> connection_;
  NatsOwned<jsCtx> context_;
  std::optional<AckInbox> inbox_;

  std::unordered_map<std::string, Tenant> tenants_;  // that had events since open(); there may be many quiet ones
  uint64_t stream_last_ = 0;                         // number of the stream's last message, as far as we know
  StreamRoom room_;
  size_t max_event_bytes_ = 0;
  std::string drops_;       // what was warned of
  int careful_rounds_ = 0;  // so many more rounds without predictions
  uint64_t chain_ = 1;      // rises when anything but our own predicted messages has moved stream_last_
  Encoded encoded_;
  MessageMaker maker_;
};

}  // namespace headgate::sinks
