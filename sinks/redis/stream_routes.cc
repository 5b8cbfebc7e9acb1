#include "sinks/redis/stream_routes.h"

#include "base/redis/slots.h"

namespace headgate::sinks {
namespace {

constexpr std::string_view kShard = "{shard}";

bool is_doubled(std::string_view text, size_t at) { return at + 1 < text.size() && text[at + 1] == text[at]; }

// Where {shard} stands as a placeholder; npos: nowhere.
size_t find_shard(std::string_view text, size_t from = 0) {
  for (size_t i = from; i < text.size(); ++i) {
    if (text.substr(i, kShard.size()) == kShard && !is_doubled(text, i)) return i;
    if ((text[i] == '{' || text[i] == '}') && is_doubled(text, i)) ++i;
  }
  return std::string_view::npos;
}

std::string with_shard(std::string text, size_t shard) {
  for (size_t at = find_shard(text); at != std::string::npos; at = find_shard(text, at)) {
    text.replace(at, kShard.size(), std::to_string(shard));
  }
  return text;
}

std::string position_of(const RedisStreamsSettings& settings, bool shared) {
  if (!settings.position.empty()) return settings.position;
  return shared ? "{prefix}:{{{shard}}}:position:{tenant}" : "{prefix}:{{{tenant}}}:position";
}

}  // namespace

StatusOr<StreamRoutes> StreamRoutes::make(const RedisStreamsSettings& settings) {
  StreamRoutes routes;
  routes.shared_ = find_shard(settings.stream) != std::string::npos;
  if (routes.shared_ && (settings.shards == 0 || settings.shards > 1'024)) {
    return invalid_argument("shards must be 1 to 1024");
  }
  const std::string position = position_of(settings, routes.shared_);
  for (size_t shard = 0; shard < (routes.shared_ ? settings.shards : 1); ++shard) {
    const auto parse = [&](const std::string& text) {
      return Route::parse(NameTarget::kRedis, routes.shared_ ? with_shard(text, shard) : text, settings.prefix);
    };
    HG_ASSIGN_OR_RETURN(Route stream_route, parse(settings.stream));
    HG_ASSIGN_OR_RETURN(Route position_route, parse(position));
    routes.shards_.push_back({std::move(stream_route), std::move(position_route)});
  }
  const Shard& first = routes.shards_[0];
  if (first.stream.needs_tenant() == routes.shared_) {
    return invalid_argument(
        "stream must name either {{tenant}}, for a stream of each tenant, or {{shard}}, for streams that they share");
  }
  if (!first.position.needs_tenant()) return invalid_argument("position must name {{tenant}}: each has its own");
  if (settings.stream == position) return invalid_argument("stream and position need different keys");
  if (!settings.index.empty()) {
    HG_ASSIGN_OR_RETURN(const Route index, Route::parse(NameTarget::kRedis, settings.index, settings.prefix));
    if (index.needs_tenant()) {
      return invalid_argument("index must name nothing but {{prefix}}: it lists all streams of the sink");
    }
    HG_ASSIGN_OR_RETURN(routes.index_, index.render_tenant(""));
  }
  if (settings.connection.mode == redis::Mode::kCluster) HG_RETURN_IF_ERROR(routes.check_slots());
  return routes;
}

// In a cluster what is changed together must be together, for any tenant.
Status StreamRoutes::check_slots() const {
  for (const char* tenant : {"t1", "another:tenant"}) {
    HG_ASSIGN_OR_RETURN(const StreamKeys keys, keys_of(tenant));
    if (redis::hash_tag(keys.stream) == redis::hash_tag(keys.position)) continue;
    return invalid_argument(
        "stream and position need one hash tag in a cluster, as in {{prefix}}:{{{{{{{}}}}}}}:changes; '{}' and '{}' "
        "would "
        "be in different slots",
        shared_ ? "shard" : "tenant", keys.stream, keys.position);
  }
  if (index_.empty() || redis::hash_tag(index_) == redis::hash_tag(news())) return ok_status();
  return invalid_argument("index needs a hash tag in a cluster, as in {{prefix}}:{{{{streams}}}}");
}

size_t StreamRoutes::shard_of(std::string_view tenant) const {
  return shared_ ? redis::crc16(tenant) % shards_.size() : 0;
}

std::string StreamRoutes::shared_stream(size_t shard) const { return *shards_[shard].stream.render_tenant(""); }

StatusOr<StreamKeys> StreamRoutes::keys_of(std::string_view tenant) const {
  const Shard& shard = shards_[shard_of(tenant)];
  HG_ASSIGN_OR_RETURN(std::string stream, shard.stream.render_tenant(tenant));
  HG_ASSIGN_OR_RETURN(std::string position, shard.position.render_tenant(tenant));
  StreamKeys keys{std::move(stream), std::move(position), {}};
  if (shared_) keys.birth = birth_of(keys.stream);
  return keys;
}

}  // namespace headgate::sinks
