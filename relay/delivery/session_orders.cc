// The part of Session that deals with tenants that the policy stopped, and with orders to let them go on.
#include "relay/delivery/session.h"

namespace headgate::relay {

void Session::resume(const ResumeOrder& order) {
  MutexLock lock(mutex_);
  resumed_.push_back(order);
}

void Session::resume_tenants() {
  std::vector<ResumeOrder> orders;
  {
    MutexLock lock(mutex_);
    if (resumed_.empty()) return;
    orders = std::exchange(resumed_, {});
  }
  std::map<std::string, std::optional<GapPolicy>> last;  // of several for a tenant
  for (const ResumeOrder& order : orders) last[order.tenant] = order.on_gap;
  for (const auto& [tenant, on_gap] : last) {
    if (snapshots_.running(tenant) || place_.uncovered.erase(tenant) == 0) continue;
    note_failed(tenant, false);
    if (on_gap) place_.decided[tenant] = *on_gap;
    reseed_ = true;
    stream_->request_stop();
  }
}

void Session::note_failed(const std::string& tenant, bool failed) {
  if (failed) {
    failed_.insert(tenant);
  } else if (failed_.erase(tenant) == 0) {
    return;
  }
  MutexLock lock(mutex_);
  status_.failed_tenants = failed_.size();
}

}  // namespace headgate::relay
