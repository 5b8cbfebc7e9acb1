// What the stream holds already, and heartbeats, which are nobody's place.
#include "base/log.h"
#include "sinks/encoding/names.h"
#include "sinks/nats/jetstream_sink.h"

namespace headgate::sinks {
namespace {

constexpr jsErrCode kMessageNotFound = static_cast<jsErrCode>(10037);

std::string text_or(const std::string& value, const char* otherwise) { return value.empty() ? otherwise : value; }

}  // namespace

Status JetStreamSink::look(Tenant& tenant) {
  natsMsg* raw = nullptr;
  jsErrCode code{};
  const natsStatus status =
      js_GetLastMsg(&raw, context_.get(), settings_.stream.c_str(), tenant.subject.c_str(), nullptr, &code);
  const NatsOwned<natsMsg> message(raw);
  tenant.last = 0;
  tenant.held.reset();
  tenant.epoch = 0;
  if (status == NATS_NOT_FOUND || code == kMessageNotFound) return ok_status();
  HG_RETURN_IF_ERROR(status_of_jetstream(connection_.get(), status, static_cast<int>(code),
                                         fmt::format("read the last message of '{}'", tenant.subject)));
  tenant.last = natsMsg_GetSequence(raw);
  tenant.epoch = std::strtoull(text_or(header_of(raw, kJetStreamEpochHeader), "0").c_str(), nullptr, 10);
  const auto found = read_back([&](std::string_view name) -> std::optional<std::string> {
    const std::string value = header_of(raw, "ce-" + std::string(name));
    if (value.empty()) return std::nullopt;
    return decode_header_value(value);
  });
  if (found.ok()) tenant.held = found->cursor;
  return ok_status();
}

StatusOr<std::map<std::string, Cursor>> JetStreamSink::recover(const std::map<std::string, Cursor>& stored,
                                                               std::stop_token stop) {
  if (!inbox_) return unavailable("jetstream: not connected");
  std::map<std::string, Cursor> found;
  HG_RETURN_IF_ERROR(find_unknown(stored, found, stop));
  for (const auto& [id, cursor] : stored) {
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    auto subject = subject_.render_tenant(id);
    if (!subject.ok()) continue;  // its name makes no subject, so it has never had an event here
    Tenant tenant;
    tenant.subject = *std::move(subject);
    HG_RETURN_IF_ERROR(look(tenant));
    if (tenant.held) found[id] = *tenant.held;
    // Single messages go with max_age or by hand; a stream that never had any is not the one that we have written to.
    if (!tenant.held && stream_last_ == 0 && cursor.sequence > 0) found[id] = {};
    const uint64_t held = tenant.held ? tenant.held->sequence : 0;
    if (held < cursor.sequence) {
      log_warn("jetstream_behind",
               {{"sink", info_.name}, {"tenant", id}, {"stored_sequence", cursor.sequence}, {"held_sequence", held}});
    }
  }
  return found;
}

// Tenants without a cursor: new ones, and all when the store was lost. Their numbers go on where the stream ends.
Status JetStreamSink::find_unknown(const std::map<std::string, Cursor>& stored, std::map<std::string, Cursor>& found,
                                   std::stop_token stop) {
  const std::string filter = std::string(subject_.literal_start()) + ">";
  jsOptions options;
  jsOptions_Init(&options);
  options.Wait = settings_.ack_timeout.count();
  options.Stream.Info.SubjectsFilter = filter.c_str();
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  const natsStatus status = js_GetStreamInfo(&raw, context_.get(), settings_.stream.c_str(), &options, &code);
  const NatsOwned<jsStreamInfo> info(raw);
  HG_RETURN_IF_ERROR(status_of_jetstream(connection_.get(), status, static_cast<int>(code),
                                         fmt::format("list the subjects of stream '{}'", settings_.stream)));
  const jsStreamStateSubjects* subjects = info->State.Subjects;
  for (int i = 0; subjects != nullptr && i < subjects->Count; ++i) {
    const auto id = subject_.tenant_of(subjects->List[i].Subject);
    if (!id || stored.count(*id) > 0) continue;
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    Tenant tenant;
    tenant.subject = subjects->List[i].Subject;
    HG_RETURN_IF_ERROR(look(tenant));
    if (tenant.held) found[*id] = *tenant.held;
  }
  return ok_status();
}

// On subjects of their own, so they are in nobody's way but that they have numbers of the stream. The answer to the
// last one tells that the stream takes them.
Status JetStreamSink::heartbeat(const Heartbeat& heartbeat, std::stop_token stop) {
  if (!inbox_) return unavailable("jetstream: not connected");
  inbox_->begin_round();
  const std::vector<Delivery> deliveries = heartbeat_deliveries(heartbeat);
  ++chain_;
  for (size_t i = 0; i < deliveries.size(); ++i) {
    HG_ASSIGN_OR_RETURN(const std::string subject, heartbeats_.render(deliveries[i].event->tenant));
    HG_RETURN_IF_ERROR(encoder_.encode(deliveries[i], encoded_));
    HG_RETURN_IF_ERROR(room_.take(settings_.stream, stored_bytes(subject, encoded_)));
    maker_.begin(encoded_);
    maker_.add("Nats-Expected-Stream", settings_.stream);
    const bool last = i + 1 == deliveries.size();
    HG_ASSIGN_OR_RETURN(const NatsOwned<natsMsg> message, maker_.end(subject, last ? inbox_->reply_to(i) : ""));
    HG_RETURN_IF_ERROR(
        status_of_nats(natsConnection_PublishMsg(connection_.get(), message.get()), "publish a heartbeat"));
  }
  natsConnection_FlushTimeout(connection_.get(), kSlice.count());
  const Status status = await_heartbeat(deliveries.size() - 1, stop);
  // What is in flight may still get a number; the next open() starts from what the stream then holds.
  if (!status.ok()) close();
  return status;
}

Status JetStreamSink::await_heartbeat(size_t number, std::stop_token stop) {
  const auto deadline = std::chrono::steady_clock::now() + settings_.ack_timeout;
  while (!stop.stop_requested()) {
    HG_ASSIGN_OR_RETURN(const std::optional<PublishAnswer> answer, inbox_->next(kSlice));
    if (answer && answer->number == number) {
      if (!answer->status.ok()) {
        return unavailable("{}; heartbeats go to '{}.>', which the stream must have among its subjects",
                           message_of(answer->status), settings_.heartbeat_subject);
      }
      stream_last_ = std::max(stream_last_, answer->sequence);
      return ok_status();
    }
    if (std::chrono::steady_clock::now() < deadline) continue;
    const Status refused = refusal_of(connection_.get());
    if (!refused.ok()) return refused;
    return status_of(StatusCode::kDeadlineExceeded, "jetstream: a heartbeat is not acknowledged within ack_timeout");
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

}  // namespace headgate::sinks
