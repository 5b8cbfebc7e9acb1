// Cursors in Redis: one hash per sink, one script per commit that checks the epoch and writes, so both happen or none.
// Durable as Redis is: with appendfsync everysec up to a second of commits may be lost, which repeats events and loses
// none; without persistence a restart of Redis loses the place.
#include <hiredis/hiredis.h>

#include "base/mutex.h"
#include "relay/tokens/ownership.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;
using Reply = std::unique_ptr<redisReply, FreeReply>;

// Hashes: owner; cursors:<sink> and details:<sink>, by tenant. What came later than the cursors stands in the details,
// so that an older relay still reads the values that it knows. A detail belongs to a cursor with the same xid and
// sequence; the older relay leaves it behind.

// KEYS: owner. ARGV: name of the owner, least epoch.
constexpr const char* kAcquire = R"(
  local kept = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
  local epoch = string.format('%.0f', math.max(kept + 1, tonumber(ARGV[2])))
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'epoch', epoch)
  return epoch)";

// In front of what changes something. KEYS[1]: owner, ARGV[1]: epoch. Without an epoch, or with a lower one, the store
// was lost, and is ours again.
constexpr const char* kCheckOwner = R"(
  local kept = redis.call('HGET', KEYS[1], 'epoch')
  if kept ~= ARGV[1] then
    if kept and tonumber(kept) > tonumber(ARGV[1]) then return redis.error_reply('FENCED') end
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
    return redis.error_reply('STORE_LOST')
  end)";

// KEYS: owner, sinks, cursors and details of this sink. ARGV: epoch, sink, then triples of tenant, cursor, detail.
constexpr const char* kCommit = R"(
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

// KEYS: owner, cursors and details of this sink. ARGV: epoch, tenant. All keys share one slot by their hash tag.
constexpr const char* kForget = R"(
  redis.call('HDEL', KEYS[2], ARGV[2])
  redis.call('HDEL', KEYS[3], ARGV[2])
  return 1)";

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
  RedisStore(const std::string& scope, RedisStoreSettings settings)
      : settings_(std::move(settings)), base_(fmt::format("{}:{{{}}}:relay:", settings_.prefix, scope)) {}

  StatusOr<Fence> acquire(const std::string& owner) override {
    MutexLock lock(mutex_);
    HG_ASSIGN_OR_RETURN(Reply reply, call({"EVAL", kAcquire, "1", owner_key(), owner, std::to_string(least_epoch())}));
    return Fence{0, std::strtoull(text_of(*reply).c_str(), nullptr, 10)};
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
    std::vector<std::string> command{
        "EVAL",           std::string(kCheckOwner) + kCommit, "4", owner_key(), base_ + "sinks", cursor_key(sink),
        detail_key(sink), std::to_string(fence.epoch),        sink};
    for (const auto& [tenant, cursor] : updates) {
      command.insert(command.end(), {tenant, encode(cursor), encode_detail(cursor)});
    }
    MutexLock lock(mutex_);
    HG_RETURN_IF_ERROR(losses_.tell(sink));
    HG_RETURN_IF_ERROR(refusal(call(command), fence));
    return losses_.tell(sink);
  }

  Status forget(const std::string& sink, const std::string& tenant, const Fence& fence) override {
    MutexLock lock(mutex_);
    return refusal(call({"EVAL", std::string(kCheckOwner) + kForget, "3", owner_key(), cursor_key(sink),
                         detail_key(sink), std::to_string(fence.epoch), tenant}),
                   fence);
  }

  Status ping() override {
    MutexLock lock(mutex_);
    // A write, since a replica or a full Redis answers PING as well.
    return call({"HSET", base_ + "ping", "at", "1"}).status();
  }

 private:
  std::string owner_key() const { return base_ + "owner"; }
  std::string cursor_key(const std::string& sink) const { return base_ + "cursors:" + sink; }
  std::string detail_key(const std::string& sink) const { return base_ + "details:" + sink; }
  static std::string text_of(const redisReply& reply) { return std::string(reply.str, reply.len); }

  Status refusal(const StatusOr<Reply>& reply, const Fence& fence) REQUIRES_LOCK(mutex_) {
    switch (reply.status().code()) {
      case StatusCode::kFailedPrecondition: return fenced(fence.epoch);
      case StatusCode::kDataLoss: losses_.add(); return ok_status();
      default: return reply.status();
    }
  }

  timeval timeout() const {
    const auto milliseconds = settings_.timeout.count();
    return {milliseconds / 1000, static_cast<suseconds_t>(milliseconds % 1000 * 1000)};
  }

  StatusOr<Reply> call(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    HG_RETURN_IF_ERROR(connect());
    return send(arguments);
  }

  Status connect() REQUIRES_LOCK(mutex_) {
    if (context_ != nullptr) return ok_status();
    context_.reset(redisConnectWithTimeout(settings_.host.c_str(), settings_.port, timeout()));
    if (context_ == nullptr || context_->err != 0) {
      const std::string reason = context_ == nullptr ? "out of memory" : context_->errstr;
      context_.reset();
      return unavailable("cannot reach the Redis of the token store: {}; check tokens.redis", reason);
    }
    redisSetTimeout(context_.get(), timeout());
    redisEnableKeepAlive(context_.get());
    if (!settings_.password.empty()) {
      std::vector<std::string> auth{"AUTH"};
      if (!settings_.username.empty()) auth.push_back(settings_.username);
      auth.push_back(settings_.password);
      HG_RETURN_IF_ERROR(greet(auth));
    }
    if (settings_.database != 0) return greet({"SELECT", std::to_string(settings_.database)});
    return ok_status();
  }

  Status greet(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    Status status = send(arguments).status();
    if (!status.ok()) context_.reset();
    return status;
  }

  StatusOr<Reply> send(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    std::vector<const char*> texts;
    std::vector<size_t> sizes;
    for (const std::string& argument : arguments) {
      texts.push_back(argument.data());
      sizes.push_back(argument.size());
    }
    Reply reply(static_cast<redisReply*>(
        redisCommandArgv(context_.get(), static_cast<int>(texts.size()), texts.data(), sizes.data())));
    if (reply == nullptr) {
      const std::string reason = context_->errstr;
      context_.reset();
      return unavailable("the connection to the Redis of the token store broke: {}", reason);
    }
    if (reply->type != REDIS_REPLY_ERROR) return reply;
    return refused(std::string(reply->str, reply->len));
  }

  static Status refused(const std::string& text) {
    if (text.find("FENCED") != std::string::npos) return make_status(StatusCode::kFailedPrecondition, text);
    if (text.find("STORE_LOST") != std::string::npos) return make_status(StatusCode::kDataLoss, text);
    if (text.find("OOM") != std::string::npos || text.find("MISCONF") != std::string::npos) {
      return status_of(StatusCode::kResourceExhausted, "the Redis of the token store is full: {}", text);
    }
    if (text.find("NOAUTH") != std::string::npos || text.find("WRONGPASS") != std::string::npos ||
        text.find("NOPERM") != std::string::npos) {
      return status_of(StatusCode::kPermissionDenied, "the Redis of the token store refuses us: {}", text);
    }
    return unavailable("the Redis of the token store answered: {}", text);
  }

  const RedisStoreSettings settings_;
  const std::string base_;
  Mutex mutex_;
  Losses losses_ GUARDED_BY(mutex_);
  Context context_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_redis_store(const std::string& scope, const RedisStoreSettings& settings) {
  auto store = std::make_unique<RedisStore>(scope, settings);
  HG_RETURN_IF_ERROR(store->ping());
  return store;
}

}  // namespace headgate::relay
