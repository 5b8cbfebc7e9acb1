#include <algorithm>
#include <array>
#include <deque>
#include <unordered_map>

#include "base/guard.h"
#include "base/log.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/route.h"
#include "sinks/redis/connection.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/redis/stream_script.h"

namespace headgate::sinks {
namespace {

constexpr size_t kScriptBytes = 1 << 20;
constexpr size_t kTenantsPerLook = 256;

std::string_view text_of(const redisReply* reply) {
  return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_STATUS
             ? std::string_view(reply->str, reply->len)
             : std::string_view();
}

struct Names {
  std::string stream;
  std::string position;
};

// The fields of one entry, or of a reply of alternating names and values.
std::optional<std::string> field_of(const redisReply* fields, std::string_view name) {
  for (size_t i = 0; i + 1 < fields->elements; i += 2) {
    if (text_of(fields->element[i]) == name) return std::string(text_of(fields->element[i + 1]));
  }
  return std::nullopt;
}

std::string script_text() {
  constexpr std::string_view kHeld = "if is_held(x, p, s) then";
  std::string text(kStreamScript);
  if (!guarded(Guard::kRedisPlace)) text.replace(text.find(kHeld), kHeld.size(), "if false then");
  return text;
}

// What most events of one tenant have in common.
bool is_shared(std::string_view attribute) {
  constexpr std::array<std::string_view, 8> kShared = {"specversion",  "source",      "type",      "dataschema",
                                                       "partitionkey", "incarnation", "moreparts", "datacontenttype"};
  return std::find(kShared.begin(), kShared.end(), attribute) != kShared.end();
}

class StreamsSink : public Sink {
 public:
  StreamsSink(std::string name, Encoder encoder, Route stream, Route position, RedisStreamsSettings settings)
      : info_{std::move(name), "redis_streams", Guarantee::kExactlyOnce},
        encoder_(std::move(encoder)),
        stream_(std::move(stream)),
        position_(std::move(position)),
        settings_(std::move(settings)),
        connection_(settings_.connection) {}

  const SinkInfo& info() const override { return info_; }
  void close() override { connection_.close(); }

  Status open(std::stop_token stop) override {
    HG_RETURN_IF_ERROR(connection_.open(stop));
    const auto sha = connection_.command(std::array<std::string_view, 3>{"SCRIPT", "LOAD", script_}, stop);
    if (!sha.ok()) {
      connection_.close();
      return sha.status();
    }
    sha_ = text_of(sha->get());
    return ok_status();
  }

  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    std::map<std::string, Cursor> found;
    auto next = stored.begin();
    while (next != stored.end()) {
      const auto first = next;
      for (size_t n = 0; n < kTenantsPerLook && next != stored.end(); ++n) ++next;
      HG_RETURN_IF_ERROR(look(first, next, found, stop));
    }
    return found;
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (!connection_.is_open()) return {0, unavailable("redis: not connected")};
    Work work;
    work.status.resize(batch.deliveries.size(), unavailable("redis: no reply"));
    std::vector<std::vector<size_t>> tenants = group(batch);
    for (const std::vector<size_t>& indexes : tenants) append_tenant(batch, indexes, work);
    std::vector<Reply> replies;
    const Status exchanged = connection_.exchange(replies, stop);
    for (size_t i = 0; i < work.scripts.size(); ++i) {
      const Status status = i < replies.size() ? status_of_reply(replies[i].get()) : exchanged;
      for (const size_t index : work.scripts[i]) work.status[index] = status;
    }
    for (size_t i = 0; i < work.status.size(); ++i) {
      if (!work.status[i].ok()) return {i, work.status[i]};
    }
    return {work.status.size(), ok_status()};
  }

 private:
  struct Work {
    std::vector<std::vector<size_t>> scripts;  // deliveries of each script that was queued
    std::vector<Status> status;                // of each delivery
  };

  static std::vector<std::vector<size_t>> group(const Batch& batch) {
    std::unordered_map<std::string_view, size_t> places;
    std::vector<std::vector<size_t>> groups;
    for (size_t i = 0; i < batch.deliveries.size(); ++i) {
      const auto [it, added] = places.emplace(batch.deliveries[i].event->tenant, groups.size());
      if (added) groups.emplace_back();
      groups[it->second].push_back(i);
    }
    return groups;
  }

  Status status_of_reply(const redisReply* reply) {
    if (reply->type != REDIS_REPLY_ERROR) return ok_status();
    const std::string_view text = text_of(reply);
    // The script cache was emptied; the next open() loads it again.
    if (text.substr(0, 8) == "NOSCRIPT") connection_.close();
    return status_of_error(text);
  }

  StatusOr<Names> names_of(const std::string& tenant) const {
    HG_ASSIGN_OR_RETURN(std::string stream, stream_.render_tenant(tenant));
    HG_ASSIGN_OR_RETURN(std::string position, position_.render_tenant(tenant));
    return Names{std::move(stream), std::move(position)};
  }

  // Queues the scripts of one tenant. Each names the last event of the one before as required, so that after a refused
  // script none of its followers can get in.
  void append_tenant(const Batch& batch, const std::vector<size_t>& indexes, Work& work) {
    const auto names = names_of(batch.deliveries[indexes[0]].event->tenant);
    if (!names.ok()) {
      for (const size_t index : indexes) work.status[index] = names.status();
      return;
    }
    std::string required;
    const uint64_t epoch = guarded(Guard::kRedisEpoch) ? batch.fence.epoch : 0;
    for (size_t at = 0; at < indexes.size();) {
      std::vector<size_t> script;
      const Status status = append_script(batch, indexes, at, *names, epoch, required, script);
      if (!script.empty()) {
        required = std::to_string(batch.deliveries[script.back()].sequence);
        work.scripts.push_back(std::move(script));
      }
      if (status.ok()) continue;
      for (; at < indexes.size(); ++at) work.status[indexes[at]] = status;
    }
  }

  // Takes events from `at` on while they are of one incarnation and fit; moves `at` behind them.
  Status append_script(const Batch& batch, const std::vector<size_t>& indexes, size_t& at, const Names& names,
                       uint64_t epoch, const std::string& required, std::vector<size_t>& script) {
    const std::string& incarnation = batch.deliveries[indexes[at]].event->incarnation;
    texts_.clear();
    arguments_.clear();
    const std::string_view max_length = keep(std::to_string(settings_.max_length));
    for (const std::string_view argument :
         {std::string_view("EVALSHA"), std::string_view(sha_), std::string_view("2"), std::string_view(names.stream),
          std::string_view(names.position), keep(std::to_string(epoch)), std::string_view(incarnation), max_length,
          std::string_view(required), std::string_view()}) {
      arguments_.push_back(argument);
    }
    const size_t count_place = arguments_.size() - 1;
    Status status;
    size_t bytes = 0;
    while (at < indexes.size() && script.size() < settings_.entries_per_script && bytes < kScriptBytes) {
      const Delivery& delivery = batch.deliveries[indexes[at]];
      if (delivery.event->incarnation != incarnation) break;
      status = append_event(delivery, script.size(), bytes);
      if (!status.ok()) break;
      script.push_back(indexes[at++]);
    }
    if (script.empty()) return status;
    arguments_[count_place] = keep(std::to_string(script.size()));
    connection_.append(arguments_);
    connection_.push();
    return status;
  }

  Status append_event(const Delivery& delivery, size_t slot, size_t& bytes) {
    while (encoded_.size() <= slot) encoded_.push_back(std::make_unique<Encoded>());
    Encoded& encoded = *encoded_[slot];
    HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded));
    if (encoded.bytes() > settings_.event_bytes_max) {
      return invalid_argument("redis: event {} has {} bytes, event_bytes_max is {}", encoded.id(), encoded.bytes(),
                              settings_.event_bytes_max);
    }
    arguments_.push_back(keep(std::to_string(delivery.event->xid)));
    arguments_.push_back(keep(std::to_string(delivery.event->part)));
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

  void add_field(std::string_view name, std::string_view value) {
    next_shape_.push_back(name);
    next_shape_.push_back(is_shared(name) ? value : std::string_view());
    if (!is_shared(name)) own_values_.push_back(value);
  }

  using Position = std::map<std::string, Cursor>::const_iterator;

  // What Redis holds of the tenants in [first, last).
  Status look(Position first, Position last, std::map<std::string, Cursor>& found, std::stop_token stop) {
    if (!connection_.is_open()) return unavailable("redis: not connected");
    std::vector<Position> asked;
    for (Position it = first; it != last; ++it) {
      const auto names = names_of(it->first);
      if (!names.ok()) continue;  // its name makes no key, so it has never had an event here
      connection_.append(std::array<std::string_view, 3>{"XINFO", "STREAM", names->stream});
      connection_.append(std::array<std::string_view, 2>{"HGETALL", names->position});
      asked.push_back(it);
    }
    std::vector<Reply> replies;
    HG_RETURN_IF_ERROR(connection_.exchange(replies, stop));
    size_t i = 0;
    for (const Position it : asked) {
      HG_ASSIGN_OR_RETURN(const std::optional<Cursor> held, held_of(replies[i].get(), replies[i + 1].get()));
      i += 2;
      if (it->second.sequence > 0 || held) found[it->first] = held.value_or(Cursor{});
      if (it->second.sequence > (held ? held->sequence : 0)) {
        log_warn("redis_stream_behind", {{"sink", info_.name},
                                         {"tenant", it->first},
                                         {"stored_sequence", it->second.sequence},
                                         {"held_sequence", held ? held->sequence : 0}});
      }
    }
    return ok_status();
  }

  // The position counts only when it speaks of the stream's last entry: a stream that was deleted or went back to an
  // older state has lost what the position names.
  static StatusOr<std::optional<Cursor>> held_of(const redisReply* stream, const redisReply* position) {
    if (stream->type == REDIS_REPLY_ERROR) {
      if (text_of(stream).find("no such key") != std::string_view::npos) return std::optional<Cursor>();
      return status_of_error(text_of(stream));
    }
    if (position->type == REDIS_REPLY_ERROR) return status_of_error(text_of(position));
    if (field_of(stream, "last-generated-id") == field_of(position, "id")) return cursor_in(position);
    for (size_t i = 0; i + 1 < stream->elements; i += 2) {
      const redisReply* entry = stream->element[i + 1];
      if (text_of(stream->element[i]) != "last-entry" || entry->elements != 2) continue;
      const auto event = read_back([&](std::string_view name) { return field_of(entry->element[1], name); });
      if (event.ok()) return std::optional<Cursor>(event->cursor);
    }
    return std::optional<Cursor>();
  }

  static std::optional<Cursor> cursor_in(const redisReply* position) {
    const auto number = [&](std::string_view name) {
      return std::strtoull(field_of(position, name).value_or("0").c_str(), nullptr, 10);
    };
    Cursor cursor;
    cursor.snap_token = field_of(position, "snap_token").value_or("");
    cursor.xid = number("xid");
    cursor.part = static_cast<uint32_t>(number("part"));
    cursor.more_parts = number("more_parts") != 0;
    cursor.sequence = number("sequence");
    cursor.incarnation = field_of(position, "incarnation").value_or("");
    return cursor;
  }

  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }

  const SinkInfo info_;
  const Encoder encoder_;
  const Route stream_;
  const Route position_;
  const RedisStreamsSettings settings_;
  const std::string script_ = script_text();
  RedisConnection connection_;
  std::string sha_;
  // Of the script being put together; kept to save allocations.
  std::deque<std::string> texts_;
  std::vector<std::string_view> arguments_;
  std::vector<std::unique_ptr<Encoded>> encoded_;
  std::vector<std::string_view> shape_;  // of the event before; see stream_script.h
  std::vector<std::string_view> next_shape_;
  std::vector<std::string_view> own_values_;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_redis_streams_sink(std::string name, const EncodingSettings& encoding,
                                                        const RedisStreamsSettings& settings) {
  HG_RETURN_IF_ERROR(check_redis_settings(settings.connection));
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route stream, Route::parse(NameTarget::kRedis, settings.stream, settings.prefix));
  HG_ASSIGN_OR_RETURN(Route position, Route::parse(NameTarget::kRedis, settings.position, settings.prefix));
  for (const Route* route : {&stream, &position}) {
    if (!route->needs_tenant() || route->needs_entity_type()) {
      return invalid_argument("sink '{}': stream and position must name {{tenant}} and nothing finer", name);
    }
  }
  if (settings.stream == settings.position) {
    return invalid_argument("sink '{}': stream and position need different keys", name);
  }
  if (settings.entries_per_script == 0 || settings.entries_per_script > 256) {
    return invalid_argument("sink '{}': entries_per_script must be 1 to 256", name);
  }
  return std::make_unique<StreamsSink>(std::move(name), std::move(encoder), std::move(stream), std::move(position),
                                       settings);
}

}  // namespace headgate::sinks
