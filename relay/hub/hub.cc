#include "relay/hub/hub.h"

#include <algorithm>

namespace headgate::relay {

namespace {

constexpr size_t kSlotBytes = 64;  // what the ring itself and the shared object cost

size_t bytes_in(const EventPtr& event) { return event->bytes(); }
size_t bytes_in(const std::shared_ptr<const Progress>& mark) {
  const size_t recent = mark->recent == nullptr ? 0 : mark->recent->size() * sizeof(Identity);
  return sizeof(Progress) + mark->snap_token.size() + mark->incarnation.size() + recent;
}
size_t bytes_in(const std::shared_ptr<const TenantFailure>& failure) {
  return sizeof(TenantFailure) + failure->tenant.size() + failure->message.size() + failure->head_token.size();
}
size_t bytes_in(const std::shared_ptr<const SnapshotDue>& due) { return sizeof(SnapshotDue) + due->tenant.size(); }

}  // namespace

size_t bytes_of(const HubItem& item) {
  return kSlotBytes + std::visit([](const auto& value) { return bytes_in(value); }, item);
}

HubReader::~HubReader() {
  MutexLock lock(hub_.mutex_);
  hub_.readers_.erase(this);
  hub_.writable_.notify_all();
}

ReadResult HubReader::read(const ReadLimits& limits, Duration timeout, std::stop_token stop) {
  ReadResult result;
  MutexLock lock(hub_.mutex_);
  const auto ready = [&]() REQUIRES_LOCK(hub_.mutex_) { return offset_ < hub_.end() || hub_.closed_; };
  hub_.readable_.wait_for(hub_.mutex_, stop, timeout, ready);
  if (limits.linger.count() > 0 && offset_ < hub_.end()) {
    hub_.readable_.wait_for(hub_.mutex_, stop, limits.linger,
                            [&]() REQUIRES_LOCK(hub_.mutex_) { return hub_.closed_ || hub_.enough(*this, limits); });
  }
  if (offset_ < hub_.base_) {
    result.outcome = ReadResult::Outcome::kLagged;
  } else if (offset_ < hub_.end()) {
    hub_.take(*this, limits, result.items);
    result.outcome = ReadResult::Outcome::kItems;
    hub_.writable_.notify_all();
  } else if (hub_.closed_) {
    result.outcome = ReadResult::Outcome::kClosed;
  }
  return result;
}

size_t HubReader::bytes_behind() const {
  MutexLock lock(hub_.mutex_);
  const uint64_t offset = std::max(offset_, hub_.base_);
  return offset == hub_.end() ? 0 : hub_.bytes_published_ - hub_.ring_[offset - hub_.base_].bytes_before;
}

size_t HubReader::items_behind() const {
  MutexLock lock(hub_.mutex_);
  return hub_.end() - std::max(offset_, hub_.base_);
}

void Hub::begin(const std::string& incarnation, bool ordered, uint64_t floor) {
  MutexLock lock(mutex_);
  ordered_ = ordered;
  if (began_ && incarnation == incarnation_) return;
  began_ = true;
  incarnation_ = incarnation;
  floor_ = floor;
}

void Hub::set_floor(uint64_t floor) {
  MutexLock lock(mutex_);
  floor_ = floor;
}

void Hub::raise_floor(uint64_t floor) {
  MutexLock lock(mutex_);
  if (floor_ != kNoJoin) floor_ = std::max(floor_, floor);
}

void Hub::history_replaced() {
  MutexLock lock(mutex_);
  began_ = false;
  history_ = end();
}

void Hub::set_joinable(bool joinable) {
  MutexLock lock(mutex_);
  joinable_ = joinable;
}

bool Hub::publish(std::vector<HubItem> items, std::stop_token stop, bool wake) {
  HG_CHECK(stop.stop_possible() || stop.stop_requested());
  MutexLock lock(mutex_);
  for (HubItem& item : items) {
    const size_t bytes = bytes_of(item);
    if (!make_room(bytes, stop)) return false;
    ring_.push_back({std::move(item), bytes, bytes_published_});
    bytes_ += bytes;
    bytes_published_ += bytes;
  }
  if (wake) readable_.notify_all();
  return !closed_;
}

void Hub::close() {
  MutexLock lock(mutex_);
  closed_ = true;
  readable_.notify_all();
  writable_.notify_all();
}

bool Hub::make_room(size_t bytes, std::stop_token stop) {
  while (!closed_ && !ring_.empty() && bytes_ + bytes > bytes_max_) {
    if (oldest_is_free()) {
      drop_oldest();
      continue;
    }
    blocked_ = true;
    readable_.notify_all();
    writable_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return closed_ || oldest_is_free(); });
    blocked_ = false;
    if (stop.stop_requested()) return false;
  }
  return !closed_;
}

bool Hub::oldest_is_free() const {
  bool waited_for = false;
  for (const HubReader* reader : readers_) {
    if (reader->offset_ > base_) return true;
    if (reader->offset_ == base_) waited_for = true;
  }
  return !waited_for;
}

void Hub::drop_oldest() {
  const Slot& oldest = ring_.front();
  if (const auto* event = std::get_if<EventPtr>(&oldest.item); event != nullptr && base_ >= history_) {
    if ((*event)->incarnation == incarnation_ && floor_ != kNoJoin) floor_ = std::max(floor_, (*event)->xid);
  }
  bytes_ -= oldest.bytes;
  ring_.pop_front();
  ++base_;
}

std::unique_ptr<HubReader> Hub::attach() {
  MutexLock lock(mutex_);
  return attach_locked(base_);
}

std::unique_ptr<HubReader> Hub::attach_locked(uint64_t offset) {
  std::unique_ptr<HubReader> reader(new HubReader(*this, offset));
  readers_.insert(reader.get());
  return reader;
}

std::unique_ptr<HubReader> Hub::try_join(const std::string& incarnation, uint64_t position) {
  MutexLock lock(mutex_);
  const bool complete =
      joinable_ && began_ && ordered_ && incarnation == incarnation_ && floor_ != kNoJoin && position > floor_;
  return complete ? attach_locked(std::max(base_, history_)) : nullptr;
}

bool Hub::enough(const HubReader& reader, const ReadLimits& limits) const {
  if (reader.offset_ < base_) return true;
  const size_t items = end() - reader.offset_;
  if (items == 0) return false;
  const size_t bytes = bytes_published_ - ring_[reader.offset_ - base_].bytes_before;
  return items >= limits.items_max || bytes >= limits.bytes_max;
}

void Hub::take(HubReader& reader, const ReadLimits& limits, std::vector<HubItem>& out) {
  size_t bytes = 0;
  out.reserve(std::min<size_t>(limits.items_max, end() - reader.offset_));
  while (reader.offset_ < end() && out.size() < limits.items_max) {
    const Slot& slot = ring_[reader.offset_ - base_];
    if (!out.empty() && bytes + slot.bytes > limits.bytes_max) return;
    out.push_back(slot.item);
    bytes += slot.bytes;
    ++reader.offset_;
  }
}

bool Hub::ordered() const {
  MutexLock lock(mutex_);
  return ordered_;
}

size_t Hub::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

size_t Hub::items() const {
  MutexLock lock(mutex_);
  return ring_.size();
}

bool Hub::blocked() const {
  MutexLock lock(mutex_);
  return blocked_;
}

}  // namespace headgate::relay
