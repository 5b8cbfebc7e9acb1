#include "engine/storage/connection_room.h"

#include <algorithm>

#include "base/log.h"
#include "base/postgres/errors.h"

namespace headgate::engine {

namespace {

// Between two attempts, besides a random part that grows.
constexpr Duration kPauseMin{50};
constexpr BackoffSettings kPause{.initial = Duration(100), .max = Duration(3'000)};
constexpr Duration kTimeToTake{10'000};
constexpr Duration kSlice{10};
constexpr Duration kScarceFor{60'000};
constexpr Duration kTellAgain{10'000};

MonotonicTime moment() { return std::chrono::steady_clock::now(); }

}  // namespace

ConnectionRoom::ConnectionRoom(int connections_max, uint64_t seed)
    : connections_max_(connections_max), room_(connections_max), pause_(kPause, seed) {}

bool ConnectionRoom::may_open(int open) const {
  return open < connections_max_ && (open < room_ || moment() >= try_more_);
}

MonotonicTime ConnectionRoom::ask_again() const { return std::max(try_more_, moment() + kSlice); }

int ConnectionRoom::limit() const { return std::clamp(room_, 1, connections_max_); }

void ConnectionRoom::on_connected(int open) {
  if (std::exchange(told_, false)) log_info("database_connections_given", {{"open", open}, {"max", connections_max_}});
  refusal_ = ok_status();
  room_ = std::max(room_, open);
  pause_.reset();
}

bool ConnectionRoom::on_refused(int open, const Status& refusal) {
  if (refusal.code() != StatusCode::kUnavailable) return false;
  if (open == 0 && !no_connection_left(refusal)) return false;
  // What lasts, or comes and goes, is no flood.
  if (moment() >= tell_again_) {
    tell_again_ = moment() + kTellAgain;
    told_ = true;
    log_warn("database_connections_refused",
             {{"open", open}, {"max", connections_max_}, {"reason", message_of(refusal)}});
  }
  refused_elsewhere();
  room_ = open;
  try_more_ = moment() + kPauseMin + pause_.next();
  refusal_ = refusal;
  return true;
}

bool ConnectionRoom::scarce() const { return moment() < scarce_until_; }

void ConnectionRoom::refused_elsewhere() { scarce_until_ = moment() + kScarceFor; }

void ConnectionRoom::give_up_one(int open) {
  room_ = std::max(1, open - 1);
  try_more_ = moment() + kTimeToTake;
}

}  // namespace headgate::engine
