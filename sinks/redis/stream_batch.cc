#include "sinks/redis/stream_batch.h"

#include <unordered_map>

namespace headgate::sinks {

StreamBatch::StreamBatch(const Batch& batch, const StreamRoutes& routes)
    : batch_(batch), status_(batch.deliveries.size(), unavailable("redis: no reply")) {
  std::unordered_map<std::string_view, size_t> places;
  for (size_t i = 0; i < batch.deliveries.size(); ++i) {
    const auto [it, added] = places.emplace(batch.deliveries[i].event->tenant, runs_.size());
    if (added) runs_.emplace_back();
    runs_[it->second].indexes.push_back(i);
  }
  for (TenantRun& run : runs_) {
    run.end = run.indexes.size();
    auto keys = routes.keys_of(delivery(run, 0).event->tenant);
    if (keys.ok()) {
      run.keys = *std::move(keys);
    } else {
      refuse(run, 0, keys.status());
    }
  }
}

WriteResult StreamBatch::result() const {
  for (size_t i = 0; i < status_.size(); ++i) {
    if (!status_[i].ok()) return {i, status_[i]};
  }
  return {status_.size(), ok_status()};
}

}  // namespace headgate::sinks
