// Cursors in Redis: one hash per sink, one script per commit that checks the epoch and writes, so both happen or none.
// Durable as Redis is: with appendfsync everysec up to a second of commits may be lost, which repeats events and loses
// none; without persistence a restart of Redis loses the place.
#include "base/mutex.h"
#include "base/redis/client.h"
#include "base/redis/rights.h"
#include "base/refusals.h"
#include "relay/tokens/ownership.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

using redis::Reply;

// Hashes: owner; cursors:<sink> and details:<sink>, by tenant. What came later than the cursors stands in the details,
// so that an older relay still reads the values that it knows. A detail belongs to a cursor with the same xid and
// sequence; the older relay leaves it behind.

// KEYS: owner. ARGV: name of the owner, least epoch.
constexpr const char* kAcquireScript = R"(
  local kept = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
  local epoch = string.format('%.0f', math.max(kept + 1, tonumber(ARGV[2])))
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', epoch)
  return epoch)";

// In front of what changes something. KEYS[1]: owner, ARGV[1]: epoch. Without an epoch, or with a lower one, the store
// was lost, and is ours again.
constexpr const char* kCheckOwner = R"(
  local kept = redis.call('HGET', KEYS[1], 'epoch')
  if kept ~= ARGV[1] then
    if kept and tonumber(kept) > tonumber(ARGV[1]) then return redis.error_reply('FENCED by a newer owner') end
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
    return redis.error_reply('STORE_LOST and taken again')
  end)";

// KEYS: owner, sinks, cursors and details of this sink. ARGV: epoch, sink, then triples of tenant, cursor, detail.
constexpr const char* kCommitScript = R"(
  redis.call('SADD', KEYS[2], ARGV[2])
  for i = 3, #ARGV, 3 do
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
    if ARGV[i + 2] == '' then
      redis.call('HDEL', KEYS[4], ARGV[i])
    else
      redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 2])
    end
  end
  return 1)";

constexpr redis::NeededCommand kNeeded[] = {
    {"hget", "f"}, {"hset", "f v"}, {"hdel", "f"}, {"hgetall", ""}, {"sadd", "m"}};

constexpr char kSeparator = '\t';

std::string encode(const Cursor& cursor) {
  return fmt::format("{}\t{}\t{}\t{}\t{}\t{}", cursor.xid, cursor.part, cursor.more_parts ? 1 : 0, cursor.sequence,
                     cursor.incarnation, cursor.snap_token);
}

// The place that it belongs to, the length of the identity, identity and snapshot. Empty when there is nothing to say.
std::string encode_detail(const Cursor& cursor) {
  if (cursor.identity.empty() && cursor.snapshot.empty()) return "";
  return fmt::format("{}\t{}\t{}\t{}{}", cursor.xid, cursor.sequence, cursor.identity.size(), cursor.identity,
                     cursor.snapshot);
}

void add_detail(Cursor& cursor, const std::string& text) {
  const std::string place = fmt::format("{}\t{}\t", cursor.xid, cursor.sequence);
  if (text.rfind(place, 0) != 0) return;
  char* rest = nullptr;
  const size_t length = std::strtoull(text.c_str() + place.size(), &rest, 10);
  const size_t begin = static_cast<size_t>(rest - text.c_str()) + 1;
  if (begin > text.size() || length > text.size() - begin) return;
  cursor.identity = text.substr(begin, length);
  cursor.snapshot = text.substr(begin + length);
}

StatusOr<Cursor> decode(const std::string& text) {
  std::vector<std::string> fields;
  size_t begin = 0;
  for (size_t at = text.find(kSeparator); at != std::string::npos; at = text.find(kSeparator, begin)) {
    fields.push_back(text.substr(begin, at - begin));
    begin = at + 1;
  }
  fields.push_back(text.substr(begin));
  try {
    if (fields.size() == 6) {
      return Cursor{fields[5],        std::stoull(fields[0]), static_cast<uint32_t>(std::stoul(fields[1])),
                    fields[2] == "1", std::stoull(fields[3]), fields[4]};
    }
  } catch (const std::exception&) {
  }
  return make_status(StatusCode::kDataLoss, "a cursor in the Redis token store cannot be read");
}

class RedisStore : public TokenStore {
 public:
  RedisStore(const std::string& scope, RedisStoreSettings settings, std::stop_token stop)
      : stop_(std::move(stop)),
        base_(fmt::format("{}:{{{}}}:relay:", settings.prefix, scope)),
        client_(std::make_unique<redis::Client>(std::move(settings.connection))) {}

  StatusOr<Fence> acquire(const std::string& owner) override {
    MutexLock lock(mutex_);
    take_fresh_settings();
    HG_RETURN_IF_ERROR(redis::check_commands(*client_, base_, kNeeded, stop_));
    HG_ASSIGN_OR_RETURN(Reply reply,
                        call({"EVAL", kAcquireScript, "1", owner_key(), owner, std::to_string(least_epoch())}));
    return Fence{std::strtoull(text_of(*reply).c_str(), nullptr, 10)};
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    MutexLock lock(mutex_);
    std::map<std::string, Cursor> cursors;
    HG_ASSIGN_OR_RETURN(Reply reply, call({"HGETALL", cursor_key(sink)}));
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
      HG_ASSIGN_OR_RETURN(cursors[text_of(*reply->element[i])], decode(text_of(*reply->element[i + 1])));
    }
    HG_ASSIGN_OR_RETURN(reply, call({"HGETALL", detail_key(sink)}));
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
      const auto cursor = cursors.find(text_of(*reply->element[i]));
      if (cursor != cursors.end()) add_detail(cursor->second, text_of(*reply->element[i + 1]));
    }
    return cursors;
  }

  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override {
    if (updates.empty()) return ok_status();
    std::vector<std::string> command{"EVAL",
                                     std::string(kCheckOwner) + kCommitScript,
                                     "4",
                                     owner_key(),
                                     base_ + "sinks",
                                     cursor_key(sink),
                                     detail_key(sink),
                                     std::to_string(fence.epoch),
                                     sink};
    for (const auto& [tenant, cursor] : updates) {
      command.insert(command.end(), {tenant, encode(cursor), encode_detail(cursor)});
    }
    MutexLock lock(mutex_);
    HG_RETURN_IF_ERROR(losses_.tell(sink));
    HG_RETURN_IF_ERROR(refusal(call(command), fence));
    return losses_.tell(sink);
  }

  Status ping() override {
    MutexLock lock(mutex_);
    // A write, since a replica or a full Redis answers PING as well.
    return call({"HSET", base_ + "ping", "at", "1"}).status();
  }

  void reconnect(const TokenStoreSettings& settings) override {
    MutexLock lock(fresh_mutex_);
    fresh_ = settings.redis.connection;
  }

 private:
  std::string owner_key() const { return base_ + "owner"; }
  std::string cursor_key(const std::string& sink) const { return base_ + "cursors:" + sink; }
  std::string detail_key(const std::string& sink) const { return base_ + "details:" + sink; }
  static std::string text_of(const redisReply& reply) { return std::string(redis::text_of(&reply)); }

  Status refusal(const StatusOr<Reply>& reply, const Fence& fence) REQUIRES_LOCK(mutex_) {
    switch (reply.status().code()) {
      case StatusCode::kFailedPrecondition: return fenced(fence.epoch);
      case StatusCode::kDataLoss: losses_.add(); return ok_status();
      default: return reply.status();
    }
  }

  void take_fresh_settings() REQUIRES_LOCK(mutex_) {
    MutexLock lock(fresh_mutex_);
    if (fresh_) client_ = std::make_unique<redis::Client>(*std::exchange(fresh_, std::nullopt));
  }

  // All keys share one slot, and base_ is in it.
  StatusOr<Reply> call(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    take_fresh_settings();
    const std::vector<std::string_view> words(arguments.begin(), arguments.end());
    auto reply = client_->command(base_, words, stop_);
    if (reply.ok()) return reply;
    return reworded(reply.status(), fmt::format("the token store: {}; check tokens.redis", message_of(reply.status())));
  }

  const std::stop_token stop_;
  const std::string base_;
  // Held for a moment only, unlike the other one; taken behind it.
  Mutex fresh_mutex_;
  std::optional<redis::ClientSettings> fresh_ GUARDED_BY(fresh_mutex_);
  Mutex mutex_;
  Losses losses_ GUARDED_BY(mutex_);
  std::unique_ptr<redis::Client> client_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_redis_store(const std::string& scope, const RedisStoreSettings& settings,
                                                       std::stop_token stop) {
  HG_RETURN_IF_ERROR(redis::check(settings.connection));
  auto store = std::make_unique<RedisStore>(scope, settings, std::move(stop));
  HG_RETURN_IF_ERROR(store->ping());
  return store;
}

}  // namespace headgate::relay
