#include "sinks/testing/fake_sink.h"

namespace headgate::sinks {

FakeSink::FakeSink(std::string name, Guarantee guarantee) : info_{std::move(name), "fake", guarantee} {}

Status FakeSink::open(std::stop_token) {
  MutexLock lock(mutex_);
  ++opens_;
  if (open_failure_.count > 0) {
    --open_failure_.count;
    return open_failure_.status;
  }
  open_ = true;
  return ok_status();
}

StatusOr<std::map<std::string, Cursor>> FakeSink::recover(const std::map<std::string, Cursor>&, std::stop_token) {
  MutexLock lock(mutex_);
  if (recovered_) return *recovered_;
  std::map<std::string, Cursor> found;
  for (const Delivery& delivery : received_) found[delivery.event->tenant] = cursor_of(delivery);
  return found;
}

WriteResult FakeSink::write(const Batch& batch, std::stop_token stop) {
  MutexLock lock(mutex_);
  ++writes_;
  if (!changed_.wait(mutex_, stop, [this]() REQUIRES_LOCK(mutex_) { return !corked_; })) {
    return {0, make_status(StatusCode::kCancelled, "stopped while corked")};
  }
  if (!open_) return {0, unavailable("the fake sink is not open")};
  if (batch.fence.epoch < epoch_) {
    return {0, status_of(StatusCode::kFailedPrecondition, "epoch {} is older than {}", batch.fence.epoch, epoch_)};
  }
  const bool fails = write_failure_.count > 0;
  const size_t takes = fails ? std::min(write_failure_.written, batch.deliveries.size()) : batch.deliveries.size();
  for (const Delivery& delivery : batch.deliveries.first(takes)) received_.push_back(delivery);
  changed_.notify_all();
  if (!fails) return {takes, ok_status()};
  --write_failure_.count;
  return {takes, write_failure_.status};
}

Status FakeSink::heartbeat(const Heartbeat& heartbeat, std::stop_token) {
  MutexLock lock(mutex_);
  if (!open_) return unavailable("fake: not open");
  for (Delivery& delivery : heartbeat_deliveries(heartbeat)) heartbeats_.push_back(std::move(delivery));
  changed_.notify_all();
  return ok_status();
}

std::vector<Delivery> FakeSink::heartbeats() const {
  MutexLock lock(mutex_);
  return heartbeats_;
}

void FakeSink::close() {
  MutexLock lock(mutex_);
  open_ = false;
}

void FakeSink::cork() {
  MutexLock lock(mutex_);
  corked_ = true;
}

void FakeSink::uncork() {
  MutexLock lock(mutex_);
  corked_ = false;
  changed_.notify_all();
}

void FakeSink::fail_next_opens(int count, Status status) {
  MutexLock lock(mutex_);
  open_failure_ = {count, std::move(status), 0};
}

void FakeSink::fail_next_writes(int count, Status status, size_t written) {
  MutexLock lock(mutex_);
  write_failure_ = {count, std::move(status), written};
}

void FakeSink::answer_recover(std::map<std::string, Cursor> cursors) {
  MutexLock lock(mutex_);
  recovered_ = std::move(cursors);
}

void FakeSink::fence(uint64_t epoch) {
  MutexLock lock(mutex_);
  epoch_ = epoch;
}

std::vector<Delivery> FakeSink::received() const {
  MutexLock lock(mutex_);
  return received_;
}

std::vector<std::string> FakeSink::ids_of(const std::string& tenant) const {
  MutexLock lock(mutex_);
  std::vector<std::string> ids;
  for (const Delivery& delivery : received_) {
    if (delivery.event->tenant != tenant) continue;
    ids.push_back(fmt::format("{}/{}/{}", tenant, delivery.event->xid, delivery.event->part));
  }
  return ids;
}

size_t FakeSink::count() const {
  MutexLock lock(mutex_);
  return received_.size();
}

int FakeSink::opens() const {
  MutexLock lock(mutex_);
  return opens_;
}

int FakeSink::writes() const {
  MutexLock lock(mutex_);
  return writes_;
}

bool FakeSink::is_open() const {
  MutexLock lock(mutex_);
  return open_;
}

}  // namespace headgate::sinks
