#include "sinks/redis/stream_extras.h"

#include "base/log.h"
#include "base/redis/errors.h"
#include "base/refusals.h"
#include "sinks/redis/stream_script.h"

namespace headgate::sinks {
namespace {

constexpr size_t kNamesPerCall = 1'000;

}  // namespace

Status StreamIndex::opened(std::stop_token stop) {
  streams_.clear();
  listed_.clear();
  std::vector<std::string> names;
  for (size_t shard = 0; shard < routes_.shards(); ++shard) {
    names.push_back(routes_.shared_stream(shard));
    streams_[names.back()] = StreamRoutes::birth_of(names.back());
  }
  return list(names, stop);
}

Status StreamIndex::add(StreamBatch& batch, std::stop_token stop) {
  std::vector<std::string> names;
  for (const TenantRun& run : batch.runs()) {
    if (run.next >= run.end) continue;
    know(run.keys);
    if (listed_.count(run.keys.stream) == 0) names.push_back(run.keys.stream);
  }
  return list(names, stop);
}

Status StreamIndex::list(const std::vector<std::string>& names, std::stop_token stop) {
  if (routes_.index().empty()) return ok_status();
  const std::string& index = routes_.index();
  const std::string news = routes_.news();
  const std::string number = index + ":shards";
  const std::string shards = std::to_string(routes_.shards());
  for (size_t begin = 0; begin < names.size(); begin += kNamesPerCall) {
    const size_t end = std::min(begin + kNamesPerCall, names.size());
    std::vector<std::string_view> words{"EVAL", kIndexScript, "3", index, news, number, shards};
    words.insert(words.end(), names.begin() + static_cast<ptrdiff_t>(begin),
                 names.begin() + static_cast<ptrdiff_t>(end));
    const auto reply = client_.command(index, words, stop);
    if (!reply.ok()) {
      return reworded(reply.status(), fmt::format("the index of streams '{}': {}", index, message_of(reply.status())));
    }
    listed_.insert(names.begin() + static_cast<ptrdiff_t>(begin), names.begin() + static_cast<ptrdiff_t>(end));
  }
  return ok_status();
}

Status StreamIndex::scan(const char* command, const std::string& key, const Take& take, std::stop_token stop) {
  const size_t step = std::string_view(command) == "HSCAN" ? 2 : 1;  // a hash has values between its names
  std::string cursor = "0";
  do {
    const std::vector<std::string_view> words{command, key, cursor, "COUNT", "1000"};
    HG_ASSIGN_OR_RETURN(const Reply reply, client_.command(key, words, stop));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
      return unavailable("redis: {} has an odd answer", key);
    cursor = redis::text_of(reply->element[0]);
    for (size_t i = 0; i < reply->element[1]->elements; i += step) take(redis::text_of(reply->element[1]->element[i]));
  } while (cursor != "0");
  return ok_status();
}

StatusOr<std::set<std::string>> StreamIndex::tenants(std::stop_token stop) {
  std::set<std::string> found;
  for (size_t shard = 0; shard < routes_.shards(); ++shard) {
    const auto take = [&](std::string_view name) { found.emplace(name); };
    HG_RETURN_IF_ERROR(scan("HSCAN", StreamRoutes::birth_of(routes_.shared_stream(shard)), take, stop));
  }
  if (routes_.shards() == 0 && !routes_.index().empty()) {
    const auto take = [&](std::string_view stream) {
      if (auto tenant = routes_.tenant_of(stream)) found.insert(*std::move(tenant));
    };
    HG_RETURN_IF_ERROR(scan("SSCAN", routes_.index(), take, stop));
  }
  found.erase("");  // the mark of birth
  return found;
}

Status StreamHeartbeats::load(Connection& connection, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(sha_, load_script(connection, kHeartbeatScript, stop));
  return ok_status();
}

Status StreamHeartbeats::send(const Heartbeat& heartbeat, const std::map<std::string, std::string>& streams,
                              std::stop_token stop) {
  servers_.clear();
  const std::vector<Delivery> deliveries = heartbeat_deliveries(heartbeat);
  Status status;
  if (heartbeat.tenants.empty()) {
    for (const auto& [stream, beside] : streams) status.Update(append(deliveries[0], stream, beside, stop));
  } else {
    for (const Delivery& delivery : deliveries) {
      const auto keys = routes_.keys_of(delivery.event->tenant);
      if (!keys.ok() || delivery.sequence == 0) continue;  // it has never had an event here
      status.Update(append(delivery, keys->stream, keys->shared() ? keys->birth : keys->position, stop));
    }
  }
  status.Update(exchange(stop));
  return status;
}

Status StreamHeartbeats::append(const Delivery& delivery, const std::string& stream, const std::string& beside,
                                std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(Connection* const server, client_.of_key(stream, stop));
  Encoded encoded;
  HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded));
  const std::string max_length = std::to_string(settings_.max_length);
  std::vector<std::string_view> words{"EVALSHA", sha_, "2", stream, beside, routes_.shards() > 0 ? "1" : "0",
                                      max_length};
  for (const Attribute& attribute : encoded) words.insert(words.end(), {attribute.name, attribute.value});
  words.insert(words.end(), {"datacontenttype", encoded.content_type(), "data", encoded.data()});
  server->append(words);
  server->push();
  servers_.insert(server);
  return ok_status();
}

Status StreamHeartbeats::exchange(std::stop_token stop) {
  Status status;
  for (Connection* const server : servers_) {
    std::vector<Reply> replies;
    status.Update(server->exchange(replies, stop));
    for (const Reply& reply : replies) {
      if (!redis::is_error(reply.get())) continue;
      const std::string_view text = redis::text_of(reply.get());
      // A slot that moves: the next heartbeat finds it. One whose master was replaced: what was acknowledged may be
      // lost.
      if (client_.is_cluster() && text.substr(0, 8) == "TRYAGAIN") continue;
      if (client_.is_cluster() && client_.follow(text, *server, stop)) continue;
      if (client_.is_cluster() && redis::redirect_of(text)) server->close();
      if (text.substr(0, 8) == "NOSCRIPT" || text.substr(0, 8) == "READONLY") server->close();
      status.Update(redis::status_of_error(text, server->name()));
    }
  }
  return status;
}

}  // namespace headgate::sinks
