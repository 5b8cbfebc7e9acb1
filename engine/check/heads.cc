#include "engine/check/heads.h"

#include <algorithm>

namespace headgate::engine {

namespace {

constexpr size_t kTenantsKept = 10'000;
constexpr Duration kLook{50};

}  // namespace

HeadKeeper::HeadKeeper(HeadReader& reader, Duration max_staleness) : reader_(reader), max_staleness_(max_staleness) {}

void HeadKeeper::wrote() {
  MutexLock lock(mutex_);
  wrote_ = std::chrono::steady_clock::now();
}

bool HeadKeeper::kept_locked(const std::string& tenant, Head& head) const {
  const auto version = versions_.find(tenant);
  if (version == versions_.end()) return false;
  const MonotonicTime oldest = std::min(kept_.asked, version->second.asked);
  if (oldest <= wrote_ || std::chrono::steady_clock::now() - oldest > max_staleness_) return false;
  head = kept_;
  head.version = version->second.text;
  head.asked = oldest;
  return true;
}

void HeadKeeper::keep_locked(const Batch& batch) {
  if (!batch.status.ok()) return;
  kept_ = {batch.heads.at, "", batch.heads.standby, batch.asked};
  if (versions_.size() > kTenantsKept) versions_.clear();
  for (size_t i = 0; i < batch.tenants.size(); ++i) {
    versions_[batch.tenants[i]] = {batch.heads.versions[i], batch.asked};
  }
}

StatusOr<Head> HeadKeeper::get(const std::string& tenant, Freshness freshness, const std::function<Status()>& wanted) {
  std::shared_ptr<Batch> batch;
  size_t place = 0;
  bool leads = false;
  {
    MutexLock lock(mutex_);
    if (Head head; freshness == Freshness::kBounded && kept_locked(tenant, head)) return head;
    if (gathering_ == nullptr) gathering_ = std::make_shared<Batch>();
    batch = gathering_;
    const auto found = std::ranges::find(batch->tenants, tenant);
    place = static_cast<size_t>(found - batch->tenants.begin());
    if (found == batch->tenants.end()) batch->tenants.push_back(tenant);
    while (!batch->done && sending_) {
      changed_.wait_for(mutex_, kLook);
      HG_RETURN_IF_ERROR(wanted ? wanted() : ok_status());
    }
    if (!batch->done) {
      leads = sending_ = true;
      gathering_ = nullptr;
    }
  }
  if (leads) send(batch);
  HG_RETURN_IF_ERROR(batch->status);
  return Head{batch->heads.at, batch->heads.versions[place], batch->heads.standby, batch->asked};
}

void HeadKeeper::send(const std::shared_ptr<Batch>& batch) {
  const MonotonicTime asked = std::chrono::steady_clock::now();
  StatusOr<Heads> heads = reader_.read(batch->tenants);
  {
    MutexLock lock(mutex_);
    batch->asked = asked;
    batch->status = heads.status();
    if (heads.ok()) batch->heads = std::move(*heads);
    keep_locked(*batch);
    batch->done = true;
    sending_ = false;
  }
  changed_.notify_all();
}

}  // namespace headgate::engine
