#include "engine/api/entity_stream.h"

#include "base/clock.h"

namespace headgate::engine {
namespace {

// A worker is held as long as it waits.
constexpr Duration kUnreadMax{30'000};
constexpr Duration kLookAgain{50};

}  // namespace

Status EntityStream::write(base::v1::PermissionLookupEntityStreamResponse message) {
  {
    MutexLock lock(mutex_);
    writing_ = true;
  }
  message_ = std::move(message);
  StartWrite(&message_);
  const MonotonicTime end = std::chrono::steady_clock::now() + kUnreadMax;
  MutexLock lock(mutex_);
  while (writing_) {
    changed_.wait_for(mutex_, kLookAgain);
    if (!writing_) break;
    HG_RETURN_IF_ERROR(call_.wanted());
    if (std::chrono::steady_clock::now() < end) continue;
    return make_status(StatusCode::kResourceExhausted, "the client has read nothing for 30 seconds");
  }
  return failed_ ? make_status(StatusCode::kCancelled, "the client has gone") : ok_status();
}

void EntityStream::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  failed_ = !ok;
  changed_.notify_all();
}

}  // namespace headgate::engine
