#include "relay/tokens/memory_store.h"

namespace headgate::relay {

StatusOr<Fence> MemoryStore::acquire(const std::string& owner) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  epoch_ = epoch_after(epoch_);
  return Fence{epoch_};
}

StatusOr<std::map<std::string, Cursor>> MemoryStore::load(const std::string& sink) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  return sinks_[sink];
}

Status MemoryStore::commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) {
  MutexLock lock(mutex_);
  HG_RETURN_IF_ERROR(check(fence));
  HG_RETURN_IF_ERROR(losses_.tell(sink));
  for (const CursorUpdate& update : updates) sinks_[sink][update.tenant] = update.cursor;
  ++commits_;
  return ok_status();
}

Status MemoryStore::ping() {
  MutexLock lock(mutex_);
  return failure_;
}

void MemoryStore::fail_with(Status status) {
  MutexLock lock(mutex_);
  failure_ = std::move(status);
}

void MemoryStore::lose() {
  MutexLock lock(mutex_);
  sinks_.clear();
  losses_.add();
}

int MemoryStore::commits() const {
  MutexLock lock(mutex_);
  return commits_;
}

Status MemoryStore::check(const Fence& fence) const {
  if (!failure_.ok()) return failure_;
  return fence.epoch == epoch_ ? ok_status() : fenced(fence.epoch);
}

}  // namespace headgate::relay
