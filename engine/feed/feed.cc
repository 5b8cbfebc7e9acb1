#include "engine/feed/feed.h"

#include "engine/feed/loop.h"

namespace headgate::engine {

namespace {

// Connections of the pool, checked to lead to the same history as the feed's own.
HistoryOpener checked(HistoryOpener opener, std::shared_ptr<FeedCore> core) {
  return [opener = std::move(opener), core = std::move(core)]() -> StatusOr<std::unique_ptr<HistoryReader>> {
    HG_ASSIGN_OR_RETURN(std::unique_ptr<HistoryReader> reader, opener());
    HG_RETURN_IF_ERROR(core->check_history(*reader));
    return reader;
  };
}

}  // namespace

Feed::Feed(HistoryOpener opener, FeedSettings settings)
    : core_(std::make_shared<FeedCore>(settings)),
      pool_(std::make_shared<CatchUpPool>(checked(opener, core_), settings.catch_up_threads, settings.outage_grace,
                                          settings.connections_scarce)) {
  core_->pool = pool_;
  loop_ = std::make_unique<FeedLoop>(core_, pool_, std::move(opener));
}

Feed::~Feed() {
  {
    MutexLock lock(core_->mutex);
    core_->closed = true;
  }
  core_->end_streams(unavailable("the server is shutting down"));
  loop_.reset();
  pool_.reset();
}

std::shared_ptr<FeedStream> Feed::open(StreamRequest request, std::weak_ptr<Wakeup> wakeup) {
  auto stream = std::make_shared<StreamImpl>(core_, std::move(request), std::move(wakeup));
  stream->begin();
  return stream;
}

void Feed::wake() { loop_->wake(); }

uint64_t Feed::lowest_live_xid() const { return core_->lowest_live_xid(); }

uint64_t Feed::position() const {
  MutexLock lock(core_->mutex);
  return core_->was_connected ? core_->ring.durable_end() : 0;
}

bool Feed::ready() const {
  MutexLock lock(core_->mutex);
  return core_->is_connected;
}

FeedStats Feed::stats() const {
  MutexLock lock(core_->mutex);
  FeedStats stats = core_->stats;
  stats.streams = static_cast<int>(core_->streams.size());
  stats.streams_catching_up = core_->catching_up_locked();
  stats.ring_bytes = core_->ring.bytes();
  stats.ring_messages = core_->ring.size();
  stats.connected = core_->is_connected;
  return stats;
}

}  // namespace headgate::engine
