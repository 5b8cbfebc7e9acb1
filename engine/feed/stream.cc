#include <algorithm>
#include <set>

#include "base/guard.h"
#include "base/log.h"
#include "engine/feed/core.h"

namespace headgate::engine {

namespace {

// A transaction that is larger than what a stream may hold is read again for each piece; a piece is at least this.
constexpr size_t kPieceBytes = 4 << 20;

// Where a stream that has not been opened yet will need history from, as far as its tokens tell.
uint64_t lowest_xid(const StreamRequest& request) {
  uint64_t lowest = request.earliest ? 0 : UINT64_MAX;
  for (const StreamTenant& wish : request.tenants) {
    const auto token = decode_snap_token(wish.snap_token);
    if (token.ok()) lowest = std::min(lowest, token->xid);
  }
  return lowest;
}

// The last one that is whole; null when there is none.
const FeedItem* last_whole(const std::vector<FeedItemPtr>& items) {
  const auto last =
      std::find_if(items.rbegin(), items.rend(), [](const FeedItemPtr& item) { return !item->more_parts; });
  return last == items.rend() ? nullptr : last->get();
}

Status collected_meanwhile() {
  return refusal(StatusCode::kOutOfRange, kHistoryGone, "the history was collected while the stream was reading it");
}

}  // namespace

StreamImpl::StreamImpl(std::shared_ptr<FeedCore> core, StreamRequest request, std::weak_ptr<Wakeup> wakeup)
    : core_(std::move(core)), request_(std::move(request)), wakeup_(std::move(wakeup)) {
  place_.xid = lowest_xid(request_);
}

StreamImpl::~StreamImpl() {
  MutexLock lock(core_->mutex);
  leave_locked();
  core_->streams.erase(this);
}

void StreamImpl::begin() {
  MutexLock lock(core_->mutex);
  core_->streams.insert(this);
  if (core_->closed) {
    end_locked(unavailable("the server is shutting down"));
  } else if (core_->was_connected) {
    submit_opening_locked();
  } else {
    core_->waiting_to_open.push_back(weak_from_this());
  }
}

void StreamImpl::submit_opening_locked() {
  const auto pool = core_->pool.lock();
  if (pool == nullptr) return;
  reading_ = true;
  pool->submit(
      [weak = weak_from_this()](HistoryReader& reader) {
        const auto self = weak.lock();
        return self ? self->run_opening(reader) : ok_status();
      },
      no_connection());
}

void StreamImpl::submit_page_locked() {
  const auto pool = core_->pool.lock();
  if (pool == nullptr || reading_) return;
  reading_ = true;
  pool->submit(
      [weak = weak_from_this()](HistoryReader& reader) {
        const auto self = weak.lock();
        return self ? self->run_page(reader) : ok_status();
      },
      no_connection());
}

// The reason names users and servers, and is for operators.
CatchUpPool::GiveUp StreamImpl::no_connection() {
  return [weak = weak_from_this()](const Status& why) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    log_warn("stream_without_connection", {{"reason", message_of(why)}});
    {
      MutexLock lock(self->core_->mutex);
      self->end_locked(unavailable("the database gives no connection for this stream; try again later"));
    }
    wake_all({self->wakeup_});
  };
}

Status StreamImpl::run_opening(HistoryReader& reader) {
  Incarnation incarnation;
  uint64_t ring_losses = 0, connections = 0;
  {
    MutexLock lock(core_->mutex);
    if (phase_ != Phase::kOpening) return ok_status();
    incarnation = core_->incarnation;
    ring_losses = core_->ring_losses;
    connections = core_->connections;
  }
  auto opened = open_stream(request_, incarnation, reader);
  // With a reason it is an answer for the client.
  if (opened.status().code() == StatusCode::kUnavailable && reason_of(opened.status()).empty()) return opened.status();
  {
    MutexLock lock(core_->mutex);
    if (phase_ != Phase::kOpening) return ok_status();
    // What was read of the tenants' floors may be older than the hole in the ring.
    if (ring_losses != core_->ring_losses) return unavailable("history was collected meanwhile");
    if (connections != core_->connections) return unavailable("the database is another one since");
    reading_ = false;
    if (opened.ok()) {
      phase_ = Phase::kRunning;
      filter_ = std::move(opened->filter);
      place_ = opened->place;
      // Not the horizon: what lies between the start and the horizon has not been sent yet.
      position_ = std::min(opened->opening.position, place_.xid);
      if (opened->removed_below > place_.xid) withhold_locked(place_.xid, opened->removed_below);
      newest_ = std::move(opened->newest);
      opening_ = std::move(opened->opening);
      notices_ = std::move(opened->notices);
      lose_ring_holes_locked();
    } else {
      end_locked(opened.status());
    }
  }
  wake_all({wakeup_});
  return ok_status();
}

StatusOr<Pull> StreamImpl::pull(ReadLimit limit) {
  MutexLock lock(core_->mutex);
  Pull pull;
  if (phase_ == Phase::kEnded) return end_;
  if (phase_ == Phase::kOpening) return pull;
  pull.opening = std::exchange(opening_, std::nullopt);
  pull.notices = std::exchange(notices_, {});
  if (!buffer_.empty()) {
    take_buffer_locked(limit, &pull);
  } else if (!reading_ && !parked_) {
    if (place_.xid < core_->ring.start()) {
      submit_page_locked();
    } else {
      read_ring_locked(limit, &pull);
    }
  }
  if (pull.items.empty() && parked_ && !reading_) read_ahead_locked(limit, &pull);
  if (!request_.notices) stop_at_unreadable_locked(&pull);
  if (phase_ == Phase::kEnded && pull.idle()) return end_;
  advance_locked(pull);
  pull.position = position_;
  // The end of a transaction that is not ahead is a position. While that is withheld, none may be taken from it.
  const FeedItem* last = last_whole(pull.items);
  if (last != nullptr && last->xid >= position_) pull.ahead = request_.ahead;
  if (pull.idle()) pull.newest = newest_;
  return pull;
}

// Not beyond what can be told together with the newest transaction in front of it: the ring may leave a stream behind
// at any moment, and then that is known only where an item ends, or a page.
void StreamImpl::advance_locked(const Pull& pull) {
  // A position inside of a transaction is the one in front of it.
  uint64_t read = parked_ ? core_->ring.end() : place_.xid;
  if (!buffer_.empty()) read = std::min(read, buffer_.front()->xid);
  const uint64_t complete = std::min(complete_locked(read), core_->ring.durable_end());
  if (read >= withheld_to_) {
    withheld_from_ = UINT64_MAX;
    withheld_to_ = 0;
  }
  if (complete <= position_) return;
  if (!request_.notices) {
    position_ = complete;
  } else if (complete >= core_->ring.start()) {
    position_ = complete;
    newest_ = core_->ring.newest_below(complete);
  } else if (complete == page_end_) {
    position_ = complete;
    newest_ = page_newest_;
  } else if (const FeedItem* last = last_whole(pull.items); last != nullptr && !pull.ahead) {
    if (last->xid >= complete || last->xid < position_) return;
    position_ = last->xid + 1;
    newest_ = identity_of(*last);
  }
}

void StreamImpl::withhold_locked(uint64_t from, uint64_t to) {
  withheld_from_ = std::min(withheld_from_, from);
  withheld_to_ = std::max(withheld_to_, to);
}

uint64_t StreamImpl::complete_locked(uint64_t read) const {
  return read < withheld_to_ ? std::min(read, withheld_from_) : read;
}

void StreamImpl::stop_at_unreadable_locked(Pull* pull) {
  const auto at =
      std::ranges::find_if(pull->items, [](const FeedItemPtr& item) { return item->unreadable != nullptr; });
  if (at == pull->items.end()) return;
  const FeedItem& item = **at;
  leave_locked();
  end_locked(
      refusal(StatusCode::kDataLoss, kRowUnreadable,
              fmt::format("transaction {} of tenant {} holds what is no value: {}; repair or delete it, or watch "
                          "from the snap token {} to go on without it",
                          item.xid, item.tenant, *item.unreadable, encode_legacy_token(item.xid))));
  pull->items.erase(at, pull->items.end());
}

void StreamImpl::take_buffer_locked(ReadLimit limit, Pull* pull) {
  size_t bytes = 0;
  while (!buffer_.empty() && pull->items.size() < limit.items_max) {
    bytes += buffer_.front()->bytes();
    if (!pull->items.empty() && bytes > limit.bytes_max) break;
    pull->items.push_back(std::move(buffer_.front()));
    buffer_.pop_front();
  }
  pull->ahead = buffer_ahead_;
  // The next page is read while this one is sent.
  if (buffer_.empty() && place_.xid < core_->ring.start() && !parked_) submit_page_locked();
}

void StreamImpl::read_ring_locked(ReadLimit limit, Pull* pull) {
  const std::string* single = filter_.single();
  const auto wanted = [this](const FeedItem& item) REQUIRES_LOCK(core_->mutex) { return wants(item); };
  while (pull->items.empty() && place_.xid < core_->ring.end()) {
    pull->items = single ? core_->ring.read(*single, &place_, limit) : core_->ring.read(wanted, &place_, limit);
    if (single)
      std::erase_if(pull->items, [&](const FeedItemPtr& item) REQUIRES_LOCK(core_->mutex) { return !wanted(*item); });
  }
  if (pull->items.empty()) park_locked();
}

// The rest of what is too much for one answer goes through the buffer, because the list forgets what the ring has.
void StreamImpl::read_ahead_locked(ReadLimit limit, Pull* pull) {
  if (!request_.ahead) return;
  filter_.forget_ahead(core_->ring.end());
  size_t bytes = 0;
  while (const std::vector<FeedItemPtr>* parts = core_->ahead.find(&ahead_next_)) {
    const FeedItem& first = *parts->front();
    if (wants(first)) {
      if (pull->items.size() >= limit.items_max || bytes >= limit.bytes_max) return;
      for (const FeedItemPtr& item : *parts) {
        const bool full =
            pull->items.size() >= limit.items_max || (bytes > 0 && bytes + item->bytes() > limit.bytes_max);
        if (full || !buffer_.empty()) {
          buffer_.push_back(item);
        } else {
          pull->items.push_back(item);
        }
        bytes += item->bytes();
      }
      filter_.told_ahead(first.tenant, first.xid);
      pull->ahead = buffer_ahead_ = true;
    }
    ++ahead_next_;
  }
}

// A stream whose start lies ahead of the feed waits like any other; its filter keeps what comes before away.
void StreamImpl::park_locked() {
  parked_ = true;
  if (const std::string* single = filter_.single()) {
    core_->parked_one[*single].insert(this);
  } else {
    core_->parked_many.insert(this);
  }
}

void StreamImpl::unpark_locked(uint64_t xid) {
  parked_ = false;
  place_ = {xid, 0};
}

bool StreamImpl::rewind_locked(uint64_t end) {
  if (phase_ != Phase::kRunning) return false;
  place_ = std::min(place_, FeedPlace{end, 0});
  return filter_.highest_start() > end;
}

void StreamImpl::leave_locked() {
  if (!parked_) return;
  parked_ = false;
  core_->parked_many.erase(this);
  const std::string* single = filter_.single();
  if (single == nullptr) return;
  const auto found = core_->parked_one.find(*single);
  if (found == core_->parked_one.end()) return;
  found->second.erase(this);
  if (found->second.empty()) core_->parked_one.erase(found);
}

void StreamImpl::end_locked(const Status& status) {
  if (phase_ == Phase::kEnded) return;
  phase_ = Phase::kEnded;
  end_ = status;
  parked_ = false;
  buffer_.clear();
}

bool StreamImpl::lose_locked(const std::vector<TenantFloor>& tenants) {
  bool concerned = false;
  for (const TenantFloor& lost : tenants) {
    if (phase_ != Phase::kRunning) break;
    if (!filter_.covers(lost.tenant) || filter_.start_of(lost.tenant) >= lost.floor || is_told(lost)) continue;
    concerned = true;
    if (parked_) {
      leave_locked();
      place_ = {core_->ring.end(), 0};
    }
    if (!request_.notices) {
      end_locked(collected_meanwhile());
    } else if (reading_) {
      lost_.push_back(lost);
    } else {
      drop_locked(lost);
    }
  }
  return concerned;
}

void StreamImpl::lose_ring_holes_locked() {
  if (!guarded(Guard::kTokenFloor)) return;
  std::vector<TenantFloor> holes;
  for (const auto& [tenant, floor] : core_->ring_holes) {
    if (floor > core_->ring.start()) holes.push_back({tenant, floor, false});
  }
  lose_locked(holes);
}

void StreamImpl::drop_locked(const TenantFloor& lost) {
  filter_.drop(lost.tenant);
  const uint64_t head = std::max(lost.floor, core_->ring.durable_end());
  notices_.push_back({lost.tenant, false, std::string(kHistoryGone), message_of(collected_meanwhile()), head});
}

std::vector<FeedItemPtr> StreamImpl::encode_page(const HistoryPage& page, FeedPlace* place) const {
  std::vector<FeedItemPtr> kept, parts;
  size_t bytes = 0;
  for (const HistoryTransaction& transaction : page.transactions) {
    if (transaction.life ? !request_.notices || !filter_of_job().wants(transaction.tenant, transaction.xid)
                         : !filter_of_job().wants_changes(transaction.tenant, transaction.xid)) {
      continue;
    }
    core_->note_unreadable(transaction);
    if (!is_tenant_name(transaction.tenant)) continue;
    parts.clear();
    encode_transaction(transaction, core_->settings.part_bytes_max, &parts);
    const size_t bound = std::max(core_->settings.catch_up_bytes, parts.size() > 1 ? kPieceBytes : 0);
    for (FeedItemPtr& item : parts) {
      if (FeedPlace{item->xid, item->part} < *place) continue;
      if (!kept.empty() && bytes + item->bytes() > bound) return kept;
      bytes += item->bytes();
      *place = place_after(*item);
      kept.push_back(std::move(item));
    }
  }
  *place = std::max(*place, FeedPlace{page.next, 0});
  return kept;
}

StatusOr<std::vector<TenantFloor>> StreamImpl::read_floors(HistoryReader& reader, const HistoryPage& page,
                                                           FeedPlace from, uint64_t ring_start) const {
  std::set<std::string> names;
  // Tenants of which nothing is left on the page are missing there; the floors of more than a few come with the page.
  constexpr size_t kFew = 32;
  if (filter_of_job().tenants().size() <= kFew)
    names.insert(filter_of_job().tenants().begin(), filter_of_job().tenants().end());
  for (const HistoryTransaction& transaction : page.transactions) names.insert(transaction.tenant);
  const std::vector<std::string> asked(names.begin(), names.end());
  HG_ASSIGN_OR_RETURN(const auto known, reader.tenants(asked, std::vector<uint64_t>(asked.size(), 0)));
  std::vector<TenantFloor> floors;
  for (size_t i = 0; i < asked.size(); ++i) {
    floors.push_back({asked[i], known[i].floor, known[i].floor_is_removal()});
  }
  if (page.highest_floor > from.xid) {
    HG_ASSIGN_OR_RETURN(const std::vector<TenantFloor> others, reader.collected_behind(from.xid, ring_start));
    for (const TenantFloor& other : others) {
      if (!names.contains(other.tenant)) floors.push_back(other);
    }
  }
  return floors;
}

Status StreamImpl::check_floors(HistoryReader& reader, const HistoryPage& page, FeedPlace from) {
  if (!guarded(Guard::kPageFloors)) return ok_status();
  uint64_t ring_start = 0;
  {
    MutexLock lock(core_->mutex);
    ring_start = core_->ring.start();
    filter_.forget_removals();
  }
  HG_ASSIGN_OR_RETURN(const std::vector<TenantFloor> floors, read_floors(reader, page, from, ring_start));
  for (const TenantFloor& lost : floors) {
    const uint64_t needed = std::max(from.xid, filter_of_job().start_of(lost.tenant));
    if (!filter_of_job().covers(lost.tenant) || lost.floor <= needed) continue;
    if (!request_.notices) return collected_meanwhile();
    MutexLock lock(core_->mutex);
    if (is_told(lost)) {
      // The page misses what the removal took, and the ring may still have the later part of that.
      filter_.leave_out_changes(lost.tenant, lost.floor);
      withhold_locked(from.xid, lost.floor);
    } else {
      drop_locked(lost);
    }
  }
  MutexLock lock(core_->mutex);
  // Tenants that were removed are not all among them.
  if (page.highest_floor > from.xid) withhold_locked(from.xid, page.highest_floor);
  return ok_status();
}

Status StreamImpl::run_page(HistoryReader& reader) {
  FeedPlace from;
  uint64_t to = 0, connections = 0;
  {
    MutexLock lock(core_->mutex);
    if (phase_ != Phase::kRunning) return ok_status();
    from = place_;
    to = core_->ring.durable_end();
    connections = core_->connections;
  }
  FeedPlace place = from;
  std::vector<FeedItemPtr> items;
  Status status;
  auto page = filter_of_job().empty()
                  ? StatusOr<HistoryPage>(HistoryPage{{}, to})
                  : reader.page({from.xid, to}, filter_of_job().tenants(), core_->settings.page_changes);
  status = page.status();
  if (status.ok()) status = check_floors(reader, *page, from);
  if (status.code() == StatusCode::kUnavailable) return status;
  if (status.ok() && !guarded(Guard::kXidOrder)) {
    std::ranges::stable_sort(page->transactions, {}, &HistoryTransaction::started_at_us);
  }
  if (status.ok()) items = encode_page(*page, &place);
  TransactionIdentity newest;
  uint64_t complete = 0;
  if (status.ok() && request_.notices) {
    {
      MutexLock lock(core_->mutex);
      complete = complete_locked(place.xid);
    }
    auto found = reader.newest_below(complete);
    status = found.status();
    if (status.code() == StatusCode::kUnavailable) return status;
    if (status.ok()) newest = std::move(*found);
  }
  {
    MutexLock lock(core_->mutex);
    ++core_->stats.pages_caught_up;
    if (phase_ != Phase::kRunning) return ok_status();
    if (connections != core_->connections) return unavailable("the database is another one since");
    reading_ = false;
    for (const TenantFloor& lost : std::exchange(lost_, {})) drop_locked(lost);
    if (status.ok()) {
      place_ = place;
      page_end_ = complete;
      page_newest_ = std::move(newest);
      buffer_ahead_ = false;
      std::ranges::move(items, std::back_inserter(buffer_));
    } else {
      end_locked(status);
    }
  }
  wake_all({wakeup_});
  return ok_status();
}

}  // namespace headgate::engine
