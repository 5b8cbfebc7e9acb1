#include "base/log.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/connection.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/redis/stream_batch.h"
#include "sinks/redis/stream_position.h"
#include "sinks/redis/stream_scripts.h"
#include "sinks/redis/stream_transaction.h"

namespace headgate::sinks {
namespace {

constexpr size_t kTenantsPerLook = 256;

class StreamsSink : public Sink {
 public:
  StreamsSink(std::string name, Encoder encoder, StreamRoutes routes, RedisStreamsSettings settings)
      : info_{std::move(name), "redis_streams", Guarantee::kExactlyOnce},
        encoder_(std::move(encoder)),
        routes_(std::move(routes)),
        settings_(std::move(settings)),
        connection_(settings_.connection) {}

  const SinkInfo& info() const override { return info_; }
  void close() override { connection_.close(); }

  Status open(std::stop_token stop) override {
    HG_RETURN_IF_ERROR(connection_.open(stop));
    transactions_.opened();
    Status loaded = scripts_.load(stop);
    if (loaded.ok()) loaded = looks_.load(connection_, stop);
    if (!loaded.ok()) connection_.close();
    return loaded;
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

  WriteResult write(const Batch& deliveries, std::stop_token stop) override {
    if (!connection_.is_open()) return {0, unavailable("redis: not connected")};
    StreamBatch batch(deliveries, routes_);
    if (const Status status = transactions_.run(batch, stop); status.ok()) {
      scripts_.run(batch, stop);
    } else {
      for (const TenantRun& run : batch.runs()) batch.set(run, run.next, run.end, status);
    }
    return batch.result();
  }

 private:
  using Position = std::map<std::string, Cursor>::const_iterator;

  // What Redis holds of the tenants in [first, last).
  Status look(Position first, Position last, std::map<std::string, Cursor>& found, std::stop_token stop) {
    if (!connection_.is_open()) return unavailable("redis: not connected");
    std::vector<std::pair<Position, StreamKeys>> asked;
    RespCommands commands;
    for (Position it = first; it != last; ++it) {
      auto keys = routes_.keys_of(it->first);
      if (!keys.ok()) continue;  // its name makes no key, so it has never had an event here
      looks_.append(commands, *keys);
      asked.emplace_back(it, *std::move(keys));
    }
    connection_.append(commands);
    std::vector<Reply> replies;
    HG_RETURN_IF_ERROR(connection_.exchange(replies, stop));
    for (size_t i = 0; i < asked.size(); ++i) {
      const auto& [tenant, keys] = asked[i];
      HG_ASSIGN_OR_RETURN(const StreamLook look, LookScript::read(replies[i].get()));
      HG_ASSIGN_OR_RETURN(const std::optional<Cursor> held, held_of(look, keys, connection_, stop));
      compare(tenant->first, tenant->second, held, found);
    }
    return ok_status();
  }

  void compare(const std::string& tenant, const Cursor& stored, const std::optional<Cursor>& held,
               std::map<std::string, Cursor>& found) const {
    if (stored.sequence > 0 || held) found[tenant] = held.value_or(Cursor{});
    const uint64_t sequence = held ? held->sequence : 0;
    if (stored.sequence <= sequence) return;
    log_warn(
        "redis_stream_behind",
        {{"sink", info_.name}, {"tenant", tenant}, {"stored_sequence", stored.sequence}, {"held_sequence", sequence}});
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const StreamRoutes routes_;
  const RedisStreamsSettings settings_;
  RedisConnection connection_;
  LookScript looks_;
  StreamTransactions transactions_{connection_, looks_, encoder_, settings_};
  StreamScripts scripts_{connection_, encoder_, settings_};
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_redis_streams_sink(std::string name, const EncodingSettings& encoding,
                                                        const RedisStreamsSettings& settings) {
  HG_RETURN_IF_ERROR(check_redis_settings(settings.connection));
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route stream, Route::parse(NameTarget::kRedis, settings.stream, settings.prefix));
  HG_ASSIGN_OR_RETURN(Route position, Route::parse(NameTarget::kRedis, settings.position, settings.prefix));
  for (const Route* route : {&stream, &position}) {
    if (!route->needs_tenant()) {
      return invalid_argument("sink '{}': stream and position must name {{tenant}}", name);
    }
  }
  if (settings.stream == settings.position) {
    return invalid_argument("sink '{}': stream and position need different keys", name);
  }
  if (settings.entries_per_script == 0 || settings.entries_per_script > 256) {
    return invalid_argument("sink '{}': entries_per_script must be 1 to 256", name);
  }
  if (settings.entries_per_transaction > 4'096) {
    return invalid_argument("sink '{}': entries_per_transaction must be 0 to 4096", name);
  }
  return std::make_unique<StreamsSink>(std::move(name), std::move(encoder),
                                       StreamRoutes{std::move(stream), std::move(position)}, settings);
}

}  // namespace headgate::sinks
