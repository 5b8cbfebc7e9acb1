#include "sinks/nats/stream_room.h"

namespace headgate::sinks {
namespace {

// The head of a stored record, and the headers that the sink adds to those of the event.
constexpr size_t kOverhead = 1536;
// A byte of an attribute's value may become three in a header.
constexpr size_t kHeaderFactor = 3;

}  // namespace

void StreamRoom::update(const jsStreamInfo& info) {
  const bool refuses = info.Config != nullptr && info.Config->Discard == js_DiscardNew && info.Config->MaxBytes > 0;
  bytes_max_ = refuses ? info.Config->MaxBytes : 0;
  bytes_ = static_cast<int64_t>(info.State.Bytes);
  refused_ = false;
}

Status StreamRoom::take(const std::string& stream, size_t bytes) {
  if (bytes_max_ == 0) return ok_status();
  refused_ = bytes_ + static_cast<int64_t>(bytes) > bytes_max_;
  if (refused_) {
    return status_of(
        StatusCode::kResourceExhausted,
        "jetstream: stream '{}' is full: {} of max_bytes {} are taken, the next event needs up to {}; raise "
        "max_bytes or purge what subscribers have read",
        stream, bytes_, bytes_max_, bytes);
  }
  bytes_ += static_cast<int64_t>(bytes);
  return ok_status();
}

size_t stored_bytes(const std::string& subject, const Encoded& encoded) {
  const size_t attributes = encoded.bytes() - encoded.data().size();
  return kOverhead + 2 * subject.size() + kHeaderFactor * attributes + encoded.data().size();
}

std::string dropping_settings(const jsStreamConfig& config) {
  std::string found;
  const auto add = [&](std::string text) { found += (found.empty() ? "" : ", ") + std::move(text); };
  if (config.Discard == js_DiscardOld && config.MaxBytes > 0) {
    add(fmt::format("discard=old with max_bytes={}", config.MaxBytes));
  }
  if (config.Discard == js_DiscardOld && config.MaxMsgs > 0) {
    add(fmt::format("discard=old with max_msgs={}", config.MaxMsgs));
  }
  const bool per_subject = config.Discard == js_DiscardNew && config.DiscardNewPerSubject;
  if (config.MaxMsgsPerSubject > 0 && !per_subject) {
    add(fmt::format("max_msgs_per_subject={}", config.MaxMsgsPerSubject));
  }
  return found;
}

}  // namespace headgate::sinks
