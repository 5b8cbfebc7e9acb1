#include "sinks/nats/ack_inbox.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/refusals.h"

namespace headgate::sinks {
namespace {

// Numbers of the JetStream API's errors.
constexpr int kWrongLastMessageId = 10070;
constexpr int kWrongLastSequence = 10071;

PublishAnswer parse_failure(std::string_view json) {
  PublishAnswer answer;
  const auto object = nlohmann::json::parse(json, nullptr, false);
  const auto error = object.is_object() ? object.value("error", nlohmann::json::object()) : nlohmann::json::object();
  const int code = error.value("err_code", 0);
  const std::string text = error.value("description", std::string(json.substr(0, 200)));
  answer.wrong_sequence = code == kWrongLastSequence || code == kWrongLastMessageId;
  const RefusalRow* row = find_refusal(ServerKind::kNats, std::to_string(code));
  const RefusalKind kind = row == nullptr ? RefusalKind::kAway : row->kind;
  const std::string_view help = row == nullptr ? "" : row->help;
  answer.status = with_refusal(
      status_of(code_of(kind), "jetstream: {} (error {}){}{}", text, code, help.empty() ? "" : "; ", help), kind);
  return answer;
}

}  // namespace

PublishAnswer parse_publish_answer(std::string_view json) {
  constexpr std::string_view kSequence = "\"seq\":";
  const size_t at = json.find(kSequence);
  if (json.find("\"error\":") != std::string_view::npos || at == std::string_view::npos) return parse_failure(json);
  PublishAnswer answer;
  const char* begin = json.data() + at + kSequence.size();
  const char* end = json.data() + json.size();
  while (begin < end && *begin == ' ') ++begin;
  if (std::from_chars(begin, end, answer.sequence).ec != std::errc()) return parse_failure(json);
  answer.duplicate = json.find("\"duplicate\":") != std::string_view::npos;
  return answer;
}

StatusOr<AckInbox> AckInbox::make(natsConnection* connection) {
  natsInbox* inbox = nullptr;
  HG_RETURN_IF_ERROR(status_of_nats(natsInbox_Create(&inbox), "make an inbox"));
  AckInbox made;
  made.prefix_ = std::string(inbox) + ".";
  natsInbox_Destroy(inbox);
  natsSubscription* raw = nullptr;
  const natsStatus status = natsConnection_SubscribeSync(&raw, connection, (made.prefix_ + ">").c_str());
  HG_RETURN_IF_ERROR(status_of_nats(status, "subscribe to acknowledgements"));
  made.subscription_.reset(raw);
  HG_RETURN_IF_ERROR(status_of_nats(natsSubscription_SetPendingLimits(raw, -1, -1), "lift a limit"));
  return made;
}

StatusOr<std::optional<PublishAnswer>> AckInbox::next(Duration timeout) {
  natsMsg* raw = nullptr;
  const natsStatus status = natsSubscription_NextMsg(&raw, subscription_.get(), timeout.count());
  if (status == NATS_TIMEOUT) return std::optional<PublishAnswer>();
  HG_RETURN_IF_ERROR(status_of_nats(status, "read acknowledgements"));
  const NatsOwned<natsMsg> message(raw);
  const std::string_view place = std::string_view(natsMsg_GetSubject(raw)).substr(prefix_.size());
  const std::string round = std::to_string(round_);
  size_t number = 0;
  if (place.substr(0, round.size()) != round || place.size() <= round.size() + 1 || place[round.size()] != '.' ||
      std::from_chars(place.data() + round.size() + 1, place.data() + place.size(), number).ec != std::errc()) {
    return std::optional<PublishAnswer>();
  }
  PublishAnswer answer;
  if (natsMsg_IsNoResponders(raw)) {
    answer.status = status_of_nats(NATS_NO_RESPONDERS, "publish to JetStream");
  } else {
    answer = parse_publish_answer({natsMsg_GetData(raw), static_cast<size_t>(natsMsg_GetDataLength(raw))});
  }
  answer.number = number;
  return std::optional<PublishAnswer>(std::move(answer));
}

}  // namespace headgate::sinks
