#include "sinks/kafka/topic_settings.h"

#include <array>
#include <charconv>

#include "base/log.h"

namespace headgate::sinks {
namespace {

std::optional<int64_t> number_of(const TopicSettings& topic, const std::string& key) {
  const auto it = topic.find(key);
  if (it == topic.end()) return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(it->second.data(), it->second.data() + it->second.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

TopicSettings entries_of(const rd_kafka_ConfigResource_t* resource) {
  TopicSettings settings;
  size_t count = 0;
  const rd_kafka_ConfigEntry_t** entries = rd_kafka_ConfigResource_configs(resource, &count);
  for (size_t i = 0; i < count; ++i) {
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    settings[rd_kafka_ConfigEntry_name(entries[i])] = value == nullptr ? "" : value;
  }
  return settings;
}

}  // namespace

StatusOr<TopicSettings> settings_of(rd_kafka_t* client, const Described& what, const KafkaSettings& settings,
                                    std::stop_token stop) {
  const bool topic = what.kind == Described::Kind::kTopic;
  rd_kafka_ConfigResource_t* raw =
      rd_kafka_ConfigResource_new(topic ? RD_KAFKA_RESOURCE_TOPIC : RD_KAFKA_RESOURCE_BROKER, what.name.c_str());
  const std::string tried = fmt::format("read the settings of {} '{}'", topic ? "topic" : "broker", what.name);
  const auto named = [&](Status status) {
    return naming_right(std::move(status), settings, "DescribeConfigs",
                        topic ? fmt::format("--topic '{}'", what.name) : "--cluster");
  };
  if (raw == nullptr) return invalid_argument("kafka: cannot {}", tried);
  const KafkaOwned<rd_kafka_ConfigResource_t> wanted(raw);
  const KafkaOwned<rd_kafka_queue_t> queue(rd_kafka_queue_new(client));
  const KafkaOwned<rd_kafka_AdminOptions_t> options(
      rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS));
  std::array<char, 512> error{};
  const int timeout = static_cast<int>(settings.connect_timeout.count());
  rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout, error.data(), error.size());
  rd_kafka_DescribeConfigs(client, &raw, 1, options.get(), queue.get());
  while (!stop.stop_requested()) {
    const KafkaOwned<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kSliceMs));
    if (event == nullptr) continue;
    HG_RETURN_IF_ERROR(status_of_kafka(rd_kafka_event_error(event.get()), tried));
    size_t count = 0;
    const auto* resources =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event.get()), &count);
    if (count == 0) return unavailable("kafka: cannot {}: no answer", tried);
    HG_RETURN_IF_ERROR(named(status_of_kafka(rd_kafka_ConfigResource_error(resources[0]), tried)));
    return entries_of(resources[0]);
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

std::string losing_settings(const TopicSettings& topic, const TopicFacts& facts, const KafkaSettings& settings,
                            TopicUse use) {
  std::string found;
  const auto add = [&](std::string text) { found += (found.empty() ? "" : ", ") + std::move(text); };
  const auto policy = topic.find("cleanup.policy");
  const std::string cleanup = policy == topic.end() ? "delete" : policy->second;
  const bool compacts = cleanup.find("compact") != std::string::npos;
  if (use == TopicUse::kCursors ? !compacts || cleanup.find("delete") != std::string::npos : compacts) {
    add("cleanup.policy=" + cleanup);
  }
  if (use == TopicUse::kEvents && cleanup.find("delete") != std::string::npos) {
    const auto retention = number_of(topic, "retention.ms");
    if (retention && *retention >= 0 && *retention < settings.retention_min.count()) {
      add(fmt::format("retention.ms={}", *retention));
    }
    const auto bytes = number_of(topic, "retention.bytes");
    if (bytes && *bytes >= 0) add(fmt::format("retention.bytes={}", *bytes));
  }
  const int64_t in_sync = number_of(topic, "min.insync.replicas").value_or(1);
  if (facts.replicas > 1 && in_sync < 2) {
    add(fmt::format("min.insync.replicas={} of {} replicas", in_sync, facts.replicas));
  }
  if (facts.replicas == 1 && facts.brokers > 1) add(fmt::format("one replica on {} brokers", facts.brokers));
  if (facts.in_sync < in_sync) {
    add(fmt::format("min.insync.replicas={} with {} in sync now, so nothing can be written", in_sync, facts.in_sync));
  }
  return found;
}

void warn_of_topic(rd_kafka_t* client, const std::string& sink, const std::string& topic, const TopicFacts& facts,
                   const KafkaSettings& settings, TopicUse use, std::stop_token stop) {
  const auto told = settings_of(client, {Described::Kind::kTopic, topic}, settings, std::move(stop));
  if (!told.ok()) {
    if (told.status().code() == StatusCode::kCancelled) return;
    log_warn("kafka_topic_settings_unknown", {{"sink", sink},
                                              {"topic", topic},
                                              {"error", describe(told.status())},
                                              {"effect", "nobody warns of a topic that drops events"}});
    return;
  }
  const std::string losing = losing_settings(*told, facts, settings, use);
  if (losing.empty()) return;
  const bool events = use == TopicUse::kEvents;
  log_warn("kafka_topic_loses_records",
           {{"sink", sink},
            {"topic", topic},
            {"settings", losing},
            {"effect",
             events ? "events are lost that subscribers may not have read" : "cursors are lost, and events come twice"},
            {"help", events ? "set cleanup.policy=delete, a retention above retention_min without a limit of bytes, "
                              "and with several brokers 3 replicas and min.insync.replicas=2"
                            : "set cleanup.policy=compact, and with several brokers 3 replicas"}});
}

}  // namespace headgate::sinks
