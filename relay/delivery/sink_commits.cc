// The part of SinkWorker that keeps its place in the token store.
#include "base/log.h"
#include "relay/delivery/sink_worker.h"

namespace headgate::relay {

namespace {

// What a token store that lost everything has to be told anew.
std::vector<CursorUpdate> all_of(const SinkPlace& place) {
  std::vector<CursorUpdate> all;
  for (auto& [tenant, cursor] : place.cursors()) all.push_back({tenant, cursor});
  if (!place.progress().snap_token.empty()) all.push_back({kProgressTenant, {}});
  return all;
}

}  // namespace

void SinkWorker::start_commit() {
  std::vector<CursorUpdate> updates;
  {
    MutexLock lock(mutex_);
    updates = place_.take_changes();
  }
  committer_.start(std::move(updates));
}

bool SinkWorker::settle_commit(const std::optional<Committer::Outcome>& outcome) {
  if (!outcome) return true;
  {
    MutexLock lock(mutex_);
    if (!outcome->status.ok()) place_.put_back(outcome->updates);
    if (outcome->status.code() == StatusCode::kDataLoss) place_.put_back(all_of(place_));
    status_.uncommitted = committer_.uncommitted();
    status_.commit_error = outcome->status.ok() ? "" : described_refusal(outcome->status);
  }
  if (outcome->status.code() == StatusCode::kFailedPrecondition) {
    fenced(outcome->status);
    return false;
  }
  if (!outcome->status.ok()) {
    log_warn("commit_failed", {{"sink", name_}, {"error", describe(outcome->status)}});
    note_error(outcome->status);
  }
  return true;
}

bool SinkWorker::commit_when_due(bool idle, std::stop_token stop) {
  for (;;) {
    if (!settle_commit(committer_.outcome())) return false;
    bool due = false;
    {
      MutexLock lock(mutex_);
      due = committer_.due(place_, idle);
    }
    if (due) start_commit();
    if (!committer_.must_wait()) return true;
    change_state(SinkState::kBlocked);
    if (!parts_.clock.sleep(Duration(50), stop)) return false;
    idle = true;
  }
}

bool SinkWorker::begin_to_send(std::stop_token stop) {
  if (sink_->info().keeps_place) return true;
  while (!stop.stop_requested()) {
    {
      MutexLock lock(mutex_);
      if (!place_.ended_well()) return true;
      place_.set_ended_well(false);
    }
    start_commit();
    const std::optional<Committer::Outcome> outcome = committer_.wait_for_outcome();
    if (!settle_commit(outcome)) return false;
    if (!outcome || outcome->status.ok()) return true;
    {
      MutexLock lock(mutex_);
      place_.set_ended_well(true);
    }
    if (draining_ || !parts_.clock.sleep(retry_.next(), stop)) return false;
  }
  return false;
}

void SinkWorker::commit_at_end() {
  if (!sink_->info().keeps_place && !last_write_unknown_) {
    MutexLock lock(mutex_);
    place_.set_ended_well(true);
  }
  // The first failure may be a connection that broke long ago; the store opens a new one for the next call.
  std::optional<Committer::Outcome> last = committer_.wait_for_outcome();
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!settle_commit(last)) break;
    start_commit();
    last = committer_.wait_for_outcome();
    if (!last || last->status.ok()) break;
  }
  if (!last || last->status.ok()) {
    settle_commit(last);
    return;
  }
  log_error("last_commit_failed", {{"sink", name_},
                                   {"uncommitted", committer_.uncommitted()},
                                   {"error", describe(last->status)},
                                   {"effect", "these events come twice after the next start"}});
}

}  // namespace headgate::relay
