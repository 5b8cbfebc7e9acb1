#include "sinks/redis/stream_transaction.h"

#include <algorithm>

#include "base/guard.h"
#include "base/log.h"
#include "base/redis/errors.h"
#include "sinks/redis/stream_scripts.h"

namespace headgate::sinks {
namespace {

using redis::is_ok;
using redis::text_of;

// About what a full chunk of usual events has. Two chunks and what is being sent are held.
constexpr size_t kChunkBytes = 256 << 10;
// The largest events meet limits that Redis knows only when it runs the command.
constexpr size_t kOrdinaryEventBytes = 1 << 20;
constexpr size_t kFirstLookReply = 1;  // behind that of WATCH
// With fewer events of a tenant the look costs more than it saves.
constexpr size_t kWorthwhile = 16;

using Place = std::pair<uint64_t, uint32_t>;

Place place_of(const Delivery& delivery) { return {delivery.event->xid, delivery.event->part}; }

EntryId id_of(const Delivery& delivery) { return {delivery.event->xid, delivery.event->part}; }

std::string text_of_id(const Delivery& delivery) {
  return fmt::format(FMT_STRING("{}-{}"), delivery.event->xid, delivery.event->part);
}

bool follows(const Delivery& before, const Delivery& after) {
  return before.event->incarnation == after.event->incarnation && place_of(before) < place_of(after) &&
         before.sequence < after.sequence;
}

}  // namespace

void StreamTransaction::clear() {
  shares_.clear();
  look_.clear();
  body_.clear();
  steps_ = 0;
  ordinary_ = true;
}

const RespCommands& StreamTransaction::look() {
  size_t keys = 0;
  for (const Share& share : shares_) keys += share.run->keys.shared() ? 3 : 2;
  look_.begin(1 + keys);
  look_.argument("WATCH");
  for (const Share& share : shares_) {
    look_.argument(share.run->keys.stream);
    look_.argument(share.run->keys.position);
    if (share.run->keys.shared()) look_.argument(share.run->keys.birth);
  }
  for (const Share& share : shares_) looks_.append(look_, share.run->keys);
  look_.command({"MULTI"});
  return look_;
}

void StreamTransaction::encode(StreamBatch& batch, const Encoder& encoder) {
  for (Share& share : shares_) {
    for (size_t at = share.begin; at < share.end; ++at) {
      if (body_.text().size() > kChunkBytes) {
        share.end = at;
        break;
      }
      const Delivery& delivery = batch.delivery(*share.run, at);
      ordinary_ = at == share.begin || follows(batch.delivery(*share.run, at - 1), delivery);
      if (!ordinary_) return;  // may_run() says no
      const Status status = encode_event(share, delivery, encoder);
      if (!ordinary_) return;
      if (status.ok()) continue;
      batch.refuse(*share.run, at, status);
      share.end = at;
    }
    if (share.begin < share.end) close_share(share, batch.delivery(*share.run, share.end - 1), batch.fence().epoch);
  }
  body_.command({"EXEC"});
}

Status StreamTransaction::encode_event(const Share& share, const Delivery& delivery, const Encoder& encoder) {
  HG_RETURN_IF_ERROR(encoder.encode(delivery, encoded_));
  HG_RETURN_IF_ERROR(check_size(encoded_, settings_.event_bytes_max));
  ordinary_ = encoded_.bytes() <= kOrdinaryEventBytes;
  if (!ordinary_) return ok_status();
  const auto attributes = static_cast<size_t>(encoded_.end() - encoded_.begin());
  body_.begin(3 + 2 * (attributes + 2));
  body_.argument("XADD");
  body_.argument(share.run->keys.stream);
  body_.argument(share.run->keys.shared() ? std::string("*") : text_of_id(delivery));
  for (const Attribute& attribute : encoded_) {
    body_.argument(attribute.name);
    body_.argument(attribute.value);
  }
  body_.argument("datacontenttype");
  body_.argument(encoded_.content_type());
  body_.argument("data");
  body_.argument(encoded_.data());
  ++steps_;
  return ok_status();
}

// The same fields as the script writes.
void StreamTransaction::close_share(const Share& share, const Delivery& last, uint64_t epoch) {
  const Cursor cursor = cursor_of(last);
  const bool shared = share.run->keys.shared();
  // Of a shared stream the id is the stream's birth mark, which stays.
  body_.begin(2 + 2 * (shared ? 9 : 10));
  for (const std::string_view text : {"HSET", share.run->keys.position.c_str()}) body_.argument(text);
  const auto field = [this](std::string_view name, std::string_view value) {
    body_.argument(name);
    body_.argument(value);
  };
  field("epoch", std::to_string(epoch));
  field("incarnation", cursor.incarnation);
  field("xid", std::to_string(cursor.xid));
  field("part", std::to_string(cursor.part));
  field("more_parts", cursor.more_parts ? "1" : "0");
  field("sequence", std::to_string(cursor.sequence));
  field("snap_token", cursor.snap_token);
  field("identity", cursor.identity);
  field("snapshot", cursor.snapshot);
  if (!shared) field("id", text_of_id(last));
  ++steps_;
  if (settings_.max_length == 0) return;
  body_.command({"XTRIM", share.run->keys.stream, "MAXLEN", "~", std::to_string(settings_.max_length)});
  ++steps_;
}

bool StreamTransaction::may_run(const StreamBatch& batch, std::span<const Reply> replies) const {
  if (!ordinary_ || !is_ok(replies.front().get()) || !is_ok(replies.back().get())) return false;
  size_t at = kFirstLookReply;
  for (const Share& share : shares_) {
    if (redis::is_error(replies[at].get())) return false;
    const auto look = LookScript::read(replies[at++].get());
    if (!look.ok() || !may_run(batch, share, *look)) return false;
  }
  return true;
}

bool StreamTransaction::may_run(const StreamBatch& batch, const Share& share, const StreamLook& look) const {
  if (share.begin == share.end) return true;
  const Delivery& first = batch.delivery(*share.run, share.begin);
  const uint64_t required = batch.required(*share.run, share.begin);
  if (look.epoch > batch.fence().epoch) return false;
  if (share.run->keys.shared()) {
    if (!look.position || !look.last_id || !look.same_birth) return false;
  } else if (!look.position || !look.last_id) {
    return !look.position && !look.last_id && required == 0 && id_of(first) > EntryId(0, 0);
  }
  const Cursor& held = *look.position;
  const bool in_place = share.run->keys.shared() || (look.position_id == *look.last_id && id_of(first) > *look.last_id);
  return in_place && held.incarnation == first.event->incarnation && Place(held.xid, held.part) < place_of(first) &&
         held.sequence < first.sequence && held.sequence >= required;
}

StreamTransaction::Outcome StreamTransaction::outcome(std::span<const Reply> replies) const {
  if (replies.size() < body_.count()) return Outcome::kUnknown;
  const redisReply* exec = replies.back().get();
  if (exec->type == REDIS_REPLY_NIL || exec->type == REDIS_REPLY_ERROR) return Outcome::kNotRun;
  if (exec->type != REDIS_REPLY_ARRAY || exec->elements != steps_) return Outcome::kUnknown;
  const bool whole = std::none_of(exec->element, exec->element + exec->elements,
                                  [](const redisReply* reply) { return reply->type == REDIS_REPLY_ERROR; });
  return whole ? Outcome::kStored : Outcome::kUnknown;
}

bool StreamTransactions::may_try() const {
  return !refused_ && settings_.entries_per_transaction > 0 && guarded(Guard::kRedisPlace) &&
         guarded(Guard::kRedisEpoch);
}

Status StreamTransactions::run(StreamBatch& batch, std::span<TenantRun> runs, Connection& connection,
                               std::stop_token stop) {
  if (!may_try()) return ok_status();
  runs_ = runs;
  run_ = at_ = 0;
  StreamTransaction* sent = nullptr;
  StreamTransaction* next = &chunks_[0];
  if (!plan(*next)) return ok_status();
  std::vector<Reply> replies;
  for (;;) {
    if (next != nullptr) {
      connection.append(next->look());
      connection.push();
      encode(batch, *next);
    }
    replies.clear();
    const Status exchanged = connection.exchange(replies, stop);
    const size_t answers = sent == nullptr ? 0 : std::min(sent->body().count(), replies.size());
    auto outcome = StreamTransaction::Outcome::kStored;
    if (sent != nullptr) outcome = sent->outcome(std::span(replies).first(answers));
    if (sent != nullptr && outcome == StreamTransaction::Outcome::kStored) settle(batch, *sent);
    HG_RETURN_IF_ERROR(exchanged);
    if (outcome == StreamTransaction::Outcome::kUnknown) {
      connection.close();
      return unavailable("redis: a transaction was not carried out as a whole; what is there is asked for");
    }
    if (next == nullptr) return ok_status();
    const auto look = std::span<const Reply>(replies).subspan(answers);
    if (outcome != StreamTransaction::Outcome::kStored || !next->may_run(batch, look))
      return discard(connection, look, stop);
    connection.append(next->body());
    sent = next;
    next = sent == &chunks_[0] ? &chunks_[1] : &chunks_[0];
    if (!plan(*next)) next = nullptr;
  }
}

bool StreamTransactions::plan(StreamTransaction& chunk) {
  chunk.clear();
  size_t room = settings_.entries_per_transaction;
  const size_t events_min = std::min(kWorthwhile, room);
  while (room > 0 && run_ < runs_.size()) {
    TenantRun& run = runs_[run_];
    if (!chunk.shares().empty() && chunk.shares()[0].run->slot != run.slot) break;
    const bool worthwhile = run.indexes.size() >= events_min;
    const size_t end = worthwhile ? std::min(run.end, at_ + room) : run.end;
    if (worthwhile && at_ < end) {
      chunk.add_share({&run, at_, end});
      room -= end - at_;
    }
    if (end < run.end) {
      at_ = end;
    } else {
      ++run_;
      at_ = 0;
    }
  }
  return !chunk.shares().empty();
}

void StreamTransactions::encode(StreamBatch& batch, StreamTransaction& chunk) {
  chunk.encode(batch, encoder_);
  // What became too large goes on in the next chunk.
  for (const StreamTransaction::Share& share : chunk.shares()) {
    if (share.end == share.run->end) continue;
    run_ = static_cast<size_t>(share.run - runs_.data());
    at_ = share.end;
    return;
  }
}

void StreamTransactions::settle(StreamBatch& batch, StreamTransaction& chunk) {
  for (const StreamTransaction::Share& share : chunk.shares()) {
    batch.set(*share.run, share.begin, share.end, ok_status());
    share.run->next = share.end;
  }
}

Status StreamTransactions::discard(Connection& connection, std::span<const Reply> look, std::stop_token stop) {
  for (const redisReply* reply : {look.front().get(), look.back().get()}) {
    if (is_ok(reply) || redis::speaks_of_place(text_of(reply)) || text_of(reply).substr(0, 8) == "TRYAGAIN") continue;
    refused_ = true;
    log_info("redis_transactions_refused", {{"error", text_of(reply)}, {"effect", "every event goes by the script"}});
    break;
  }
  const Status status = connection.command(std::array<std::string_view, 1>{"DISCARD"}, stop).status();
  return connection.is_open() ? ok_status() : status;
}

}  // namespace headgate::sinks
