#include <map>
#include <set>

#include "base/log.h"
#include "base/redis/client.h"
#include "base/redis/errors.h"
#include "base/redis/rights.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/redis/stream_batch.h"
#include "sinks/redis/stream_extras.h"
#include "sinks/redis/stream_position.h"
#include "sinks/redis/stream_writer.h"

namespace headgate::sinks {
namespace {

constexpr size_t kTenantsPerLook = 256;
// As docs/rights.md lists them; without watch, multi and exec there are scripts only.
constexpr redis::NeededCommand kNeeded[] = {
    {"exists", ""},       {"get", ""},           {"set", "v"},         {"hget", "f"},     {"hmget", "f"},
    {"hset", "f v"},      {"hdel", "f"},         {"hscan", "0"},       {"del", ""},       {"xadd", "* f v"},
    {"xinfo|stream", ""}, {"xtrim", "maxlen 1"}, {"xrevrange", "+ -"}, {"xsetid", "1-1"}, {"xdel", "1-1"},
    {"sadd", "m"},        {"sismember", "m"},    {"sscan", "0"}};

class StreamsSink : public Sink {
 public:
  StreamsSink(std::string name, Encoder encoder, StreamRoutes routes, RedisStreamsSettings settings)
      : info_{std::move(name), "redis_streams", Guarantee::kExactlyOnce},
        encoder_(std::move(encoder)),
        routes_(std::move(routes)),
        settings_(std::move(settings)) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return settings_.event_bytes_max; }
  void close() override { client_.close(); }

  Status open(std::stop_token stop) override {
    HG_RETURN_IF_ERROR(client_.open(stop));
    // What is only needed after a loss should not be missing just then.
    Status status =
        routes_.index().empty() ? ok_status() : redis::check_commands(client_, routes_.index(), kNeeded, stop);
    if (status.ok()) status = index_.opened(stop);
    if (!status.ok()) client_.close();
    return status;
  }

  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    std::map<std::string, Cursor> found;
    // A cursor may be missing, or lost, where the stream still has the tenant's events.
    HG_ASSIGN_OR_RETURN(const std::set<std::string> listed, index_.tenants(stop));
    std::map<std::string, Cursor> asked = stored;
    for (const std::string& tenant : listed) asked.emplace(tenant, Cursor());
    auto next = asked.cbegin();
    while (next != asked.cend()) {
      const auto first = next;
      for (size_t n = 0; n < kTenantsPerLook && next != asked.cend(); ++n) ++next;
      HG_RETURN_IF_ERROR(look(first, next, found, stop));
    }
    return found;
  }

  WriteResult write(const Batch& deliveries, std::stop_token stop) override {
    if (!client_.is_open()) return {0, unavailable("redis: not connected")};
    StreamBatch batch(deliveries, routes_);
    if (const Status listed = index_.add(batch, stop); !listed.ok()) return {0, listed};
    writer_.run(batch, stop);
    return batch.result();
  }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    if (!client_.is_open()) return unavailable("redis: not connected");
    return heartbeats_.send(heartbeat, index_.streams(), stop);
  }

 private:
  using Position = std::map<std::string, Cursor>::const_iterator;

  struct Question {
    Position tenant;
    StreamKeys keys;
    Connection* server;
    Reply reply;
  };

  Status load(Connection& connection, std::stop_token stop) {
    HG_RETURN_IF_ERROR(writer_.load(connection, stop));
    HG_RETURN_IF_ERROR(heartbeats_.load(connection, stop));
    return looks_.load(connection, stop);
  }

  // What Redis holds of the tenants in [first, last).
  Status look(Position first, Position last, std::map<std::string, Cursor>& found, std::stop_token stop) {
    if (!client_.is_open()) return unavailable("redis: not connected");
    std::vector<Question> questions;
    for (Position it = first; it != last; ++it) {
      auto keys = routes_.keys_of(it->first);
      if (!keys.ok()) continue;  // its name makes no key, so it has never had an event here
      HG_ASSIGN_OR_RETURN(Connection* const server, client_.of_key(keys->stream, stop));
      questions.push_back({it, *std::move(keys), server, nullptr});
    }
    HG_RETURN_IF_ERROR(ask(questions, stop));
    for (const Question& question : questions) {
      HG_ASSIGN_OR_RETURN(const StreamLook look, LookScript::read(question.reply.get()));
      HG_ASSIGN_OR_RETURN(const std::optional<Cursor> held, held_of(look, question.keys, client_, stop));
      if (held) index_.know(question.keys);
      HG_RETURN_IF_ERROR(compare(question, look, held, found, stop));
    }
    return ok_status();
  }

  // Each server gets its questions at once.
  Status ask(std::vector<Question>& questions, std::stop_token stop) {
    std::map<Connection*, std::vector<Question*>> by_server;
    for (Question& question : questions) by_server[question.server].push_back(&question);
    for (auto& [server, asked] : by_server) {
      RespCommands commands;
      for (const Question* question : asked) looks_.append(commands, question->keys);
      server->append(commands);
      server->push();
    }
    for (auto& [server, asked] : by_server) {
      std::vector<Reply> replies;
      HG_RETURN_IF_ERROR(server->exchange(replies, stop));
      for (size_t i = 0; i < asked.size(); ++i) {
        if (!redis::is_error(replies[i].get())) {
          asked[i]->reply = std::move(replies[i]);
          continue;
        }
        const std::string_view error = redis::text_of(replies[i].get());
        if (!client_.is_cluster()) return redis::status_of_error(error, server->name());
        HG_ASSIGN_OR_RETURN(asked[i]->reply, ask_again(asked[i]->keys, stop));
      }
    }
    return ok_status();
  }

  // Of a slot that moves: one by one, until both keys are on one side.
  StatusOr<Reply> ask_again(const StreamKeys& keys, std::stop_token stop) {
    const MonotonicTime deadline = std::chrono::steady_clock::now() + settings_.connection.command_timeout;
    while (true) {
      auto reply = client_.command(keys.stream, looks_.arguments(keys), stop);
      const bool moving = !reply.ok() && message_of(reply.status()).find("TRYAGAIN") != std::string::npos;
      if (!moving || std::chrono::steady_clock::now() > deadline) return reply;
      if (!system_clock().sleep(kMovingPause, stop)) return reply.status();
    }
  }

  Status compare(const Question& question, const StreamLook& look, const std::optional<Cursor>& held,
                 std::map<std::string, Cursor>& found, std::stop_token stop) {
    const auto& [tenant, stored] = *question.tenant;
    if (stored.sequence > 0 || held) found[tenant] = held.value_or(Cursor{});
    const uint64_t sequence = held ? held->sequence : 0;
    if (stored.sequence <= sequence) return ok_status();
    log_warn(
        "redis_stream_behind",
        {{"sink", info_.name}, {"tenant", tenant}, {"stored_sequence", stored.sequence}, {"held_sequence", sequence}});
    // The ids of a shared stream are by the server's clock.
    if (question.keys.shared()) return ok_status();
    const Status raised = raise_ids(look, question.keys, stored, held, client_, stop);
    if (raised.ok() || raised.code() == StatusCode::kUnavailable) return raised;
    log_warn("redis_ids_not_raised",
             {{"sink", info_.name},
              {"tenant", tenant},
              {"error", describe(raised)},
              {"effect", "who reads on from an entry that was lost misses the GAP, and what is sent again"}});
    return ok_status();
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const StreamRoutes routes_;
  const RedisStreamsSettings settings_;
  redis::Client client_{settings_.connection,
                        [this](Connection& connection, std::stop_token stop) { return load(connection, stop); }};
  LookScript looks_;
  StreamWriter writer_{client_, looks_, encoder_, settings_};
  StreamIndex index_{client_, routes_};
  StreamHeartbeats heartbeats_{client_, routes_, encoder_, settings_};
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_redis_streams_sink(std::string name, const EncodingSettings& encoding,
                                                        const RedisStreamsSettings& settings) {
  const auto refuse = [&](const Status& status) { return invalid_argument("sink '{}': {}", name, message_of(status)); };
  if (const Status status = redis::check(settings.connection); !status.ok()) return refuse(status);
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  StatusOr<StreamRoutes> routes = StreamRoutes::make(settings);
  if (!routes.ok()) return refuse(routes.status());
  if (settings.entries_per_script == 0 || settings.entries_per_script > 256) {
    return invalid_argument("sink '{}': entries_per_script must be 1 to 256", name);
  }
  if (settings.entries_per_transaction > 4'096) {
    return invalid_argument("sink '{}': entries_per_transaction must be 0 to 4096", name);
  }
  return std::make_unique<StreamsSink>(std::move(name), std::move(encoder), *std::move(routes), settings);
}

}  // namespace headgate::sinks
