// Publishing to JetStream with many acknowledgements outstanding, on the caller's thread only: a message that asks for
// one has a reply subject of its own below one inbox, whose last token is the number of the message.
#pragma once

#include <nats/nats.h>

#include <optional>
#include <string>
#include <vector>

#include "sinks/nats/connection.h"

namespace headgate::sinks {

// What the stream said to one message.
struct PublishAnswer {
  size_t number = 0;
  uint64_t sequence = 0;   // in the stream, when stored
  bool duplicate = false;  // refused by message id; `sequence` is of the first copy
  Status status;
  bool wrong_sequence = false;  // or message id: somebody else has written in between
};

// The longest wait for answers before somebody looks at a stop token again.
inline constexpr Duration kSlice{50};

// The body of an acknowledgement.
PublishAnswer parse_publish_answer(std::string_view json);

class AckInbox {
 public:
  static StatusOr<AckInbox> make(natsConnection* connection);

  // The reply subject of message `number` of the current round.
  std::string reply_to(size_t number) const { return fmt::format("{}{}.{}", prefix_, round_, number); }
  // Starts over; answers to earlier rounds are ignored.
  void begin_round() { ++round_; }
  // The next answer of this round; nothing when none came within `timeout`. UNAVAILABLE when the connection is gone.
  StatusOr<std::optional<PublishAnswer>> next(Duration timeout);

 private:
  std::string prefix_;
  NatsOwned<natsSubscription> subscription_;
  uint64_t round_ = 0;
};

}  // namespace headgate::sinks
