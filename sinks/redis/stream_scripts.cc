#include "sinks/redis/stream_scripts.h"

#include <algorithm>
#include <array>

#include "base/guard.h"
#include "base/redis/errors.h"
#include "base/refusals.h"
#include "sinks/redis/stream_script.h"

namespace headgate::sinks {
namespace {

constexpr size_t kScriptBytes = 1 << 20;

std::string script_text() {
  constexpr std::string_view kHeld = "if is_held(x, p, s) then";
  std::string text(kStreamScript);
  if (!guarded(Guard::kRedisPlace)) text.replace(text.find(kHeld), kHeld.size(), "if false then");
  return text;
}

// What the position keeps of an event beside its place; see stream_script.h.
std::string mark_of(const Delivery& delivery) {
  const Cursor cursor = cursor_of(delivery);
  return cursor.snapshot.empty() ? cursor.identity : cursor.identity + ' ' + cursor.snapshot;
}

// What most events of one tenant have in common.
bool is_shared(std::string_view attribute) {
  constexpr std::array<std::string_view, 8> kShared = {"specversion",  "source",      "type",      "dataschema",
                                                       "partitionkey", "incarnation", "moreparts", "datacontenttype"};
  return std::find(kShared.begin(), kShared.end(), attribute) != kShared.end();
}

}  // namespace

Status check_size(const Encoded& encoded, size_t bytes_max) {
  if (encoded.bytes() <= bytes_max) return ok_status();
  return invalid_argument("redis: event {} has {} bytes, event_bytes_max is {}", encoded.id(), encoded.bytes(),
                          bytes_max);
}

StreamScripts::StreamScripts(const Encoder& encoder, const RedisStreamsSettings& settings)
    : encoder_(encoder), settings_(settings), script_(script_text()) {}

Status StreamScripts::load(Connection& connection, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(sha_, load_script(connection, script_, stop));
  return ok_status();
}

void StreamScripts::run(StreamBatch& batch, std::span<TenantRun> runs, Connection& connection, std::stop_token stop) {
  sent_.clear();
  connection_ = &connection;
  for (TenantRun& run : runs) append_run(batch, run);
  if (sent_.empty()) return;
  std::vector<Reply> replies;
  const Status exchanged = connection.exchange(replies, stop);
  size_t at = 0;
  for (const Sent& sent : sent_) {
    if (sent.run->asking) ++at;  // the OK of ASKING
    if (at < replies.size()) {
      settle(batch, sent, replies[at].get());
    } else {
      batch.set(*sent.run, sent.begin, sent.end, exchanged);
    }
    ++at;
  }
}

// Each script names the last event of the one before as required, so that after a refused script none of its followers
// can get in.
void StreamScripts::append_run(StreamBatch& batch, TenantRun& run) {
  for (size_t at = run.next; at < run.end;) {
    const size_t end = append_script(batch, run, at);
    if (end > at) sent_.push_back({&run, at, end});
    at = end;
  }
}

// Takes events from `begin` on while they are of one incarnation and fit; returns the place behind them.
size_t StreamScripts::append_script(StreamBatch& batch, TenantRun& run, size_t begin) {
  const std::string& incarnation = batch.delivery(run, begin).event->incarnation;
  const uint64_t required = batch.required(run, begin);
  texts_.clear();
  const std::string_view epoch = keep(std::to_string(guarded(Guard::kRedisEpoch) ? batch.fence().epoch : 0));
  const std::string_view max_length = keep(std::to_string(settings_.max_length));
  arguments_ = {"EVALSHA", sha_, run.keys.shared() ? "3" : "2", run.keys.stream, run.keys.position};
  if (run.keys.shared()) arguments_.emplace_back(run.keys.birth);
  arguments_.insert(arguments_.end(),
                    {epoch, incarnation, max_length,
                     required == 0 ? std::string_view() : keep(std::to_string(required)), std::string_view()});
  const size_t count_place = arguments_.size() - 1;
  size_t bytes = 0;
  size_t at = begin;
  while (at < run.end && at - begin < settings_.entries_per_script && bytes < kScriptBytes) {
    const Delivery& delivery = batch.delivery(run, at);
    if (delivery.event->incarnation != incarnation) break;
    const Status status = append_event(delivery, at - begin, bytes);
    if (!status.ok()) {
      batch.refuse(run, at, status);
      break;
    }
    ++at;
  }
  if (at == begin) return at;
  arguments_[count_place] = keep(std::to_string(at - begin));
  if (run.asking) connection_->append(std::array<std::string_view, 1>{"ASKING"});
  connection_->append(arguments_);
  connection_->push();
  return at;
}

Status StreamScripts::append_event(const Delivery& delivery, size_t slot, size_t& bytes) {
  while (encoded_.size() <= slot) encoded_.push_back(std::make_unique<Encoded>());
  Encoded& encoded = *encoded_[slot];
  HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded));
  HG_RETURN_IF_ERROR(check_size(encoded, settings_.event_bytes_max));
  arguments_.push_back(keep(std::to_string(delivery.event->xid)));
  arguments_.push_back(keep(std::to_string(delivery.event->part)));
  arguments_.push_back(keep(mark_of(delivery)));
  next_shape_.clear();
  own_values_.clear();
  for (const Attribute& attribute : encoded) add_field(attribute.name, attribute.value);
  add_field("datacontenttype", encoded.content_type());
  add_field("data", encoded.data());
  if (slot > 0 && next_shape_ == shape_) {
    arguments_.push_back("0");
  } else {
    shape_.swap(next_shape_);
    arguments_.push_back(keep(std::to_string(shape_.size())));
    arguments_.insert(arguments_.end(), shape_.begin(), shape_.end());
  }
  arguments_.insert(arguments_.end(), own_values_.begin(), own_values_.end());
  bytes += encoded.bytes();
  return ok_status();
}

void StreamScripts::add_field(std::string_view name, std::string_view value) {
  next_shape_.push_back(name);
  next_shape_.push_back(is_shared(name) ? value : std::string_view());
  if (!is_shared(name)) own_values_.push_back(value);
}

void StreamScripts::settle(StreamBatch& batch, const Sent& sent, const redisReply* reply) {
  TenantRun& run = *sent.run;
  if (!redis::is_error(reply)) {
    batch.set(run, sent.begin, sent.end, ok_status());
    run.next = sent.end;
    return;
  }
  const std::string_view text = redis::text_of(reply);
  // The script cache was emptied; the next open() loads it again. A server that is no master any more is left.
  if (text.substr(0, 8) == "NOSCRIPT" || text.substr(0, 8) == "READONLY") connection_->close();
  if (run.elsewhere.empty() && (redis::redirect_of(text) || text.substr(0, 8) == "TRYAGAIN")) run.elsewhere = text;
  const Status status = redis::status_of_error(text, connection_->name());
  batch.set(run, sent.begin, sent.end,
            reworded(status, fmt::format("stream '{}': {}", run.keys.stream, message_of(status))));
}

}  // namespace headgate::sinks
