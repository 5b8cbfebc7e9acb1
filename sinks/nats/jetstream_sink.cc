#include "sinks/nats/jetstream_sink.h"

#include <unordered_set>

#include "base/guard.h"
#include "base/log.h"
#include "sinks/encoding/names.h"

namespace headgate::sinks {
namespace {

constexpr size_t kLink = 128;
constexpr int kCarefulRounds = 200;
constexpr int kFruitlessRounds = 4;
constexpr jsErrCode kStreamNotFound = static_cast<jsErrCode>(10059);

}  // namespace

JetStreamSink::JetStreamSink(std::string name, Encoder encoder, Route subject, HeartbeatRoutes heartbeats,
                             JetStreamSettings settings)
    : info_{std::move(name), "nats_jetstream", Guarantee::kExactlyOnce},
      encoder_(std::move(encoder)),
      subject_(std::move(subject)),
      heartbeats_(std::move(heartbeats)),
      settings_(std::move(settings)) {}

void JetStreamSink::close() {
  inbox_.reset();
  context_.reset();
  connection_.reset();
  tenants_.clear();
}

Status JetStreamSink::open(std::stop_token) {
  close();
  HG_ASSIGN_OR_RETURN(connection_, connect_to_nats(settings_.connection));
  jsCtx* raw = nullptr;
  jsOptions options;
  jsOptions_Init(&options);
  options.Wait = settings_.connection.connect_timeout.count();
  Status status = status_of_nats(natsConnection_JetStream(&raw, connection_.get(), &options), "use JetStream");
  context_.reset(raw);
  if (status.ok()) status = ensure_stream();
  if (status.ok()) {
    auto inbox = AckInbox::make(connection_.get());
    status = inbox.status();
    if (inbox.ok()) inbox_.emplace(std::move(*inbox));
  }
  if (!status.ok()) close();
  return status;
}

Status JetStreamSink::ensure_stream() {
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  natsStatus status = js_GetStreamInfo(&raw, context_.get(), settings_.stream.c_str(), nullptr, &code);
  if (status == NATS_NOT_FOUND || code == kStreamNotFound) {
    if (!settings_.create_stream) {
      return unavailable("jetstream: stream '{}' does not exist; create it, or set create_stream", settings_.stream);
    }
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    std::string subjects(subject_.literal_start());
    subjects += '>';
    const char* list[] = {subjects.c_str()};
    config.Name = settings_.stream.c_str();
    config.Subjects = list;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.Replicas = settings_.replicas;
    // A full stream must refuse new events. Dropping old ones would lose them silently.
    config.Discard = js_DiscardNew;
    if (settings_.stream_bytes_max > 0) config.MaxBytes = settings_.stream_bytes_max;
    config.MaxAge = settings_.max_age.count() * 1'000'000;
    status = js_AddStream(&raw, context_.get(), &config, nullptr, &code);
  }
  const NatsOwned<jsStreamInfo> info(raw);
  if (status != NATS_OK) {
    return status_of_jetstream(connection_.get(), status, static_cast<int>(code),
                               fmt::format("use stream '{}'", settings_.stream));
  }
  stream_last_ = info->State.LastSeq;
  room_.update(*info);
  learn_limit(*info->Config);
  warn_of_drops(*info->Config);
  ++chain_;
  return ok_status();
}

void JetStreamSink::learn_limit(const jsStreamConfig& config) {
  max_event_bytes_ = 0;
  for (const int64_t limit : {static_cast<int64_t>(settings_.event_bytes_max),
                              natsConnection_GetMaxPayload(connection_.get()), int64_t{config.MaxMsgSize}}) {
    if (limit <= 0) continue;
    const auto bytes = static_cast<size_t>(limit);
    max_event_bytes_ = max_event_bytes_ == 0 ? bytes : std::min(max_event_bytes_, bytes);
  }
}

// Somebody may want to keep only the latest events, so this is not refused.
void JetStreamSink::warn_of_drops(const jsStreamConfig& config) {
  std::string drops = dropping_settings(config);
  if (!drops.empty() && drops != drops_) {
    log_warn("jetstream_stream_drops_events",
             {{"sink", info_.name},
              {"stream", settings_.stream},
              {"settings", drops},
              {"effect", "a full stream loses events that subscribers may not have read"},
              {"help", "set discard=new, and no max_msgs_per_subject without discard_new_per_subject"}});
  }
  drops_ = std::move(drops);
}

StatusOr<JetStreamSink::Tenant*> JetStreamSink::tenant_of(const std::string& id) {
  const auto it = tenants_.find(id);
  if (it != tenants_.end()) return &it->second;
  HG_ASSIGN_OR_RETURN(std::string subject, subject_.render_tenant(id));
  Tenant tenant;
  tenant.subject = std::move(subject);
  return &tenants_.emplace(id, std::move(tenant)).first->second;
}

Status JetStreamSink::meet_tenants(const Batch& batch, std::stop_token stop) {
  for (const Delivery& delivery : batch.deliveries) {
    if (tenants_.contains(delivery.event->tenant)) continue;
    const auto tenant = tenant_of(delivery.event->tenant);
    // Of one without events there is nothing to be seen, and should there be, the server refuses what comes twice.
    if (!tenant.ok() || delivery.sequence <= 1) continue;
    Status status = look(**tenant);
    if (status.ok() && stop.stop_requested()) status = make_status(StatusCode::kCancelled, "stopped");
    if (status.ok()) continue;
    tenants_.erase(delivery.event->tenant);
    return status;
  }
  return ok_status();
}

void JetStreamSink::skip_held(const Batch& batch, std::vector<bool>& done) const {
  for (size_t i = 0; i < batch.deliveries.size(); ++i) {
    if (done[i]) continue;
    const auto it = tenants_.find(batch.deliveries[i].event->tenant);
    if (it == tenants_.end() || !it->second.held) continue;
    done[i] = already_held(*it->second.held, batch.deliveries[i]);
  }
}

std::vector<size_t> JetStreamSink::pick(const Batch& batch, const std::vector<bool>& done, size_t end, bool one_each) {
  std::vector<size_t> picked;
  std::unordered_set<std::string_view> taken;
  for (size_t i = 0; i < end; ++i) {
    if (done[i]) continue;
    if (one_each && !taken.insert(batch.deliveries[i].event->tenant).second) continue;
    picked.push_back(i);
  }
  return picked;
}

// After begin(): under which the server may store the message.
void JetStreamSink::add_conditions(const Delivery& delivery, size_t number, Tenant& tenant,
                                   std::optional<uint64_t> expected_stream_last) {
  const bool follows = expected_stream_last && number > 0;
  if (follows) maker_.add("Nats-Expected-Last-Msg-Id", maker_.message_id());
  maker_.add_message_id(delivery.sequence);
  if (expected_stream_last) maker_.add("Nats-Expected-Last-Sequence", *expected_stream_last);
  if (follows && tenant.checked == chain_) return;
  maker_.add("Nats-Expected-Last-Subject-Sequence", tenant.predicted);
  if (expected_stream_last) tenant.checked = chain_;
}

Status JetStreamSink::publish(const Delivery& delivery, const Fence& fence, size_t number, Tenant& tenant,
                              std::optional<uint64_t> expected_stream_last, const std::string& reply) {
  HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded_));
  if (settings_.event_bytes_max > 0 && encoded_.bytes() > settings_.event_bytes_max) {
    return invalid_argument("jetstream: event {} has {} bytes, event_bytes_max is {}", encoded_.id(), encoded_.bytes(),
                            settings_.event_bytes_max);
  }
  HG_RETURN_IF_ERROR(room_.take(settings_.stream, stored_bytes(tenant.subject, encoded_)));
  maker_.begin(encoded_);
  maker_.add("Nats-Expected-Stream", settings_.stream);
  if (guarded(Guard::kStreamSequence)) add_conditions(delivery, number, tenant, expected_stream_last);
  if (fence.epoch > 0) maker_.add(kJetStreamEpochHeader, fence.epoch);
  HG_ASSIGN_OR_RETURN(const NatsOwned<natsMsg> message, maker_.end(tenant.subject, reply));
  const natsStatus status = natsConnection_PublishMsg(connection_.get(), message.get());
  if (status == NATS_OK) return ok_status();
  return status_of_nats(status, fmt::format("publish event {} of {} bytes", encoded_.id(), encoded_.bytes()));
}

void JetStreamSink::Round::take(const PublishAnswer& answer, size_t number) {
  const bool stored = answer.status.ok() && !answer.wrong_sequence;
  // A copy that was there already says nothing of the chain that this one belonged to.
  const bool vouches = stored && !(link > 1 && answer.duplicate);
  failed = failed || !vouches;
  for (size_t n = number - number % link; n <= number; ++n) {
    if (answered[n]) continue;
    answers[n] = answer;
    if (vouches) {
      answers[n].sequence = answer.sequence - (number - n);
    } else if (link > 1) {
      answers[n].wrong_sequence = true;
    }
    answered[n] = true;
    --waiting;
  }
}

void JetStreamSink::Round::doubt_rest(size_t sent) {
  for (size_t n = sent - sent % link; n < sent && !asks(sent - 1); ++n) {
    answers[n].wrong_sequence = true;
    answered[n] = true;
    failed = true;
    --waiting;
  }
}

Status JetStreamSink::take_answers(Round& round, size_t waiting_max, MonotonicTime deadline, std::stop_token stop) {
  while (round.waiting > waiting_max) {
    HG_ASSIGN_OR_RETURN(const std::optional<PublishAnswer> answer, inbox_->next(kSlice));
    if (answer && answer->number < round.answers.size() && !round.answered[answer->number]) {
      round.take(*answer, answer->number);
      continue;
    }
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    // What may not be published is told apart from any message, and nobody else will answer it.
    HG_RETURN_IF_ERROR(refusal_of(connection_.get()));
    if (std::chrono::steady_clock::now() > deadline) {
      return status_of(StatusCode::kDeadlineExceeded, "jetstream: {} events are not acknowledged in time",
                       round.waiting);
    }
  }
  return ok_status();
}

// Publishes round.indexes until one is refused, then awaits what is in flight. Events that did not go out are cut off.
Status JetStreamSink::run_round(const Batch& batch, Round& round, std::stop_token stop) {
  inbox_->begin_round();
  round.answers.resize(round.indexes.size());
  round.answered.resize(round.indexes.size());
  // So that among pending_max messages there is always one that asks.
  if (round.predicted) round.link = std::clamp<size_t>(settings_.pending_max / 2, 1, kLink);
  Status unnamed;  // of a tenant whose name makes no subject; what is before it still goes out
  for (size_t number = 0; number < round.indexes.size(); ++number) {
    const auto tenant = tenant_of(batch.deliveries[round.indexes[number]].event->tenant);
    if (tenant.ok()) {
      (*tenant)->predicted = (*tenant)->last;
      continue;
    }
    unnamed = tenant.status();
    round.refused = round.indexes[number];
    round.indexes.resize(number);
  }
  uint64_t next = stream_last_ + 1;
  size_t sent = 0;
  Status refused;
  const auto deadline = [&] { return std::chrono::steady_clock::now() + settings_.ack_timeout; };
  while (sent < round.indexes.size() && !round.failed && refused.ok()) {
    const Delivery& delivery = batch.deliveries[round.indexes[sent]];
    Tenant& tenant = **tenant_of(delivery.event->tenant);
    refused = publish(delivery, batch.fence, sent, tenant, round.predicted ? std::optional(next - 1) : std::nullopt,
                      round.asks(sent) ? inbox_->reply_to(sent) : "");
    if (!refused.ok()) {
      if (refused.code() == StatusCode::kInvalidArgument) round.refused = round.indexes[sent];
      break;
    }
    tenant.predicted = next++;
    ++sent;
    ++round.waiting;
    HG_RETURN_IF_ERROR(take_answers(round, settings_.pending_max - 1, deadline(), stop));
  }
  round.doubt_rest(sent);
  // Left alone, the library would wait a millisecond for more to send. What this call thinks of it the answers tell
  // too.
  natsConnection_FlushTimeout(connection_.get(), kSlice.count());
  const Status answered = take_answers(round, 0, deadline(), stop);
  if (refused.ok() && sent == round.indexes.size()) refused = unnamed;
  round.indexes.resize(sent);
  HG_RETURN_IF_ERROR(answered);
  return refused;
}

// Somebody else's message, or a copy of ours whose acknowledgement was lost, is the last one of the subject.
Status JetStreamSink::settle_conflict(const Delivery& delivery, const Fence& fence, Tenant& tenant, bool& done) {
  HG_RETURN_IF_ERROR(look(tenant));
  if (fence.epoch > 0 && tenant.epoch > fence.epoch) {
    return status_of(StatusCode::kFailedPrecondition, "jetstream: tenant '{}' is written by epoch {}, ours is {}",
                     delivery.event->tenant, tenant.epoch, fence.epoch);
  }
  done = tenant.held && already_held(*tenant.held, delivery);
  return ok_status();
}

Status JetStreamSink::settle(const Batch& batch, Round& round, std::vector<bool>& done) {
  Status first;
  std::unordered_set<std::string_view> blocked;  // tenants whose later events were refused for the earlier one's sake
  for (size_t number = 0; number < round.indexes.size(); ++number) {
    const size_t index = round.indexes[number];
    const Delivery& delivery = batch.deliveries[index];
    const PublishAnswer& answer = round.answers[number];
    Tenant& tenant = **tenant_of(delivery.event->tenant);
    if (answer.status.ok() && !answer.wrong_sequence) {
      done[index] = true;
      if (answer.duplicate) tenant.checked = 0;  // found by its id, before any number was compared
      if (answer.sequence >= tenant.last) {
        tenant.last = answer.sequence;
        tenant.held = cursor_of(delivery);
      }
      stream_last_ = std::max(stream_last_, answer.sequence);
      continue;
    }
    careful_rounds_ = kCarefulRounds;
    if (!blocked.insert(delivery.event->tenant).second) continue;
    Status status = answer.status;
    if (answer.wrong_sequence && round.predicted) {
      // Perhaps only the prediction was wrong; the careful rounds that follow find out.
      status = ok_status();
    } else if (answer.wrong_sequence) {
      bool held = false;
      status = settle_conflict(delivery, batch.fence, tenant, held);
      if (held) {
        done[index] = true;
        blocked.erase(delivery.event->tenant);
      }
    }
    if (status.code() == StatusCode::kInvalidArgument) round.refused = std::min(round.refused.value_or(index), index);
    if (first.ok()) first = status;
  }
  return first;
}

// What was counted is more than what the stream takes; the server knows how much room there really is.
bool JetStreamSink::found_room() {
  const int64_t counted = room_.bytes();
  return room_.refused() && ensure_stream().ok() && room_.bytes() < counted;
}

WriteResult JetStreamSink::write(const Batch& batch, std::stop_token stop) {
  if (!inbox_) return {0, unavailable("jetstream: not connected")};
  if (Status met = meet_tenants(batch, stop); !met.ok()) return {0, std::move(met)};
  std::vector<bool> done(batch.deliveries.size());
  const auto prefix = [&] { return static_cast<size_t>(std::find(done.begin(), done.end(), false) - done.begin()); };
  int fruitless = 0;
  size_t end = done.size();  // at an event that can never be stored, once one is known
  Status hopeless;
  while (prefix() < end) {
    const auto before = std::count(done.begin(), done.end(), true);
    skip_held(batch, done);
    Round round;
    // The server ignores an expected number of 0, so the first round on an empty stream is a careful one.
    round.predicted = careful_rounds_ == 0 && stream_last_ > 0;
    round.indexes = pick(batch, done, end, !round.predicted);
    const size_t picked = round.indexes.size();
    const Status ran = run_round(batch, round, stop);
    const bool broken = round.waiting > 0;
    if (broken) {
      // What is in flight may still be stored. The next open() starts from what the stream then holds.
      for (size_t number = 0; number < round.indexes.size(); ++number) {
        const PublishAnswer& answer = round.answers[number];
        if (round.answered[number] && answer.status.ok() && !answer.wrong_sequence) done[round.indexes[number]] = true;
      }
      close();
      return {prefix(), ran};
    }
    Status status = settle(batch, round, done);
    if (!round.predicted) ++chain_;
    // Others may have published meanwhile; predictions start from what the stream holds now.
    if (status.ok() && careful_rounds_ > 0 && !round.predicted && --careful_rounds_ == 0 && !ensure_stream().ok()) {
      careful_rounds_ = 1;
    }
    if (status.ok() && round.indexes.size() < picked) status = ran;
    if (status.code() == StatusCode::kInvalidArgument && round.refused && *round.refused > prefix()) {
      // Whoever is blamed must be the first that is not written, so what stands before goes out now.
      end = *round.refused;
      hopeless = status;
      continue;
    }
    if (!status.ok() && !found_room()) return {prefix(), status};
    fruitless = before == std::count(done.begin(), done.end(), true) ? fruitless + 1 : 0;
    if (fruitless >= kFruitlessRounds) {
      return {prefix(), status_of(StatusCode::kAborted, "jetstream: others keep writing to the same subjects")};
    }
    if (stop.stop_requested()) return {prefix(), make_status(StatusCode::kCancelled, "stopped")};
  }
  return {prefix(), end == done.size() ? ok_status() : hopeless};
}

StatusOr<std::unique_ptr<Sink>> make_jetstream_sink(std::string name, const EncodingSettings& encoding,
                                                    const JetStreamSettings& settings) {
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route subject, Route::parse(NameTarget::kNats, settings.subject, settings.prefix));
  if (!subject.needs_tenant()) {
    return invalid_argument("sink '{}': subject must name {{tenant}}, since each tenant's last message is looked up",
                            name);
  }
  const std::string_view start = subject.literal_start();
  if (settings.create_stream && (start.empty() || start.back() != '.')) {
    return invalid_argument("sink '{}': create_stream needs a subject like 'some.prefix.{{tenant}}'", name);
  }
  if (settings.stream.empty()) return invalid_argument("sink '{}': stream is missing", name);
  const auto is_bad = [](char c) { return c <= ' ' || c >= 0x7f || c == '.' || c == '*' || c == '>'; };
  if (std::any_of(settings.stream.begin(), settings.stream.end(), is_bad)) {
    return invalid_argument("sink '{}': a stream's name has no blanks, no '.', '*' or '>'", name);
  }
  if (settings.pending_max == 0) return invalid_argument("sink '{}': pending_max must be positive", name);
  HG_ASSIGN_OR_RETURN(HeartbeatRoutes heartbeats,
                      HeartbeatRoutes::parse(NameTarget::kNats, settings.heartbeat_subject, settings.prefix, subject));
  return std::make_unique<JetStreamSink>(std::move(name), std::move(encoder), std::move(subject), std::move(heartbeats),
                                         settings);
}

}  // namespace headgate::sinks
