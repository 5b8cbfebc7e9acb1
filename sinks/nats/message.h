// Messages in binary mode: ce- headers (ce-datacontenttype among them), content-type, data.
//
// The library keeps headers in a map, at four allocations each, which is more than everything else of an event costs.
// It writes names as they are given, so all lines travel in one entry: its name is everything up to the last name. What
// arrives are ordinary headers; the contract tests read them with an ordinary subscriber.
#pragma once

#include <string>
#include <string_view>

#include "sinks/nats/connection.h"

namespace headgate::sinks {

// Makes one message after the other. Not thread-safe.
class MessageMaker {
 public:
  // Begins with the attributes of an event, which must stay until end().
  void begin(const Encoded& encoded);
  // One more header. Value: printable ASCII without blanks.
  void add(std::string_view name, std::string_view value);
  void add(std::string_view name, uint64_t value);
  // "<event id>#<sequence>": with the sequence, so that a snapshot may repeat the place of a transaction within the
  // window of duplicates.
  void add_message_id(uint64_t sequence);
  const std::string& message_id() const { return message_id_; }
  // `reply` may be empty.
  StatusOr<NatsOwned<natsMsg>> end(const std::string& subject, const std::string& reply);

 private:
  const Encoded* encoded_ = nullptr;
  std::string lines_;
  std::string message_id_;
};

}  // namespace headgate::sinks
