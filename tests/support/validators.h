// The feed's promises as functions over a recorded history: what the database holds against what one stream carried.
// Each returns "" or a sentence that names the first violation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headgate::testing {

// One committed engine transaction, read from the database when everything was quiet.
struct TruthRow {
  std::string tenant;
  uint64_t xid = 0;
  std::vector<std::string> deletes;  // any text that names the change, in the promised order
  std::vector<std::string> creates;
};

// One message as a stream carried it.
struct SeenMessage {
  std::string tenant;
  uint64_t xid = 0;
  uint32_t part = 0;
  bool more_parts = false;
  std::vector<std::string> changes;  // deletes are marked by a leading '-', creates by '+'
  std::string bytes;                 // the whole message, to compare streams
};

// F1: every transaction of the tenant with xid > after (and, with a horizon, below it) exactly once, in xid order.
std::string check_complete(const std::vector<TruthRow>& truth, const std::vector<SeenMessage>& seen,
                           const std::string& tenant, uint64_t after, uint64_t below = UINT64_MAX);
// F2: two streams from one token carry identical messages, as far as both got.
std::string check_same(const std::vector<SeenMessage>& one, const std::vector<SeenMessage>& other);
// F4: the stream went on although others held transactions open: `waited_ms` between commit and delivery, each.
std::string check_never_stalled(const std::vector<double>& waited_ms, double bound_ms);
// F5: streams from tokens whose history is gone end quickly with OUT_OF_RANGE and one of `reasons`, without a message.
struct StreamEnd {
  bool ended = false;
  int code = 0;  // of gRPC
  std::string reason;
  size_t messages = 0;
  double waited_ms = 0;  // from the moment that asked for the end, such as the opening or a SIGTERM
  double retry_ms = -1;  // the hint when to come back; negative without one
};
std::string check_refused(const std::vector<StreamEnd>& ends, const std::vector<std::string>& reasons, double bound_ms);
// F8: each stream ends with UNAVAILABLE and a hint, and both the ends and the hints are spread over the window.
std::string check_goodbyes(const std::vector<StreamEnd>& ends, double window_ms);
// F1 seen from the state: what the tuples were at a token, changed by what the stream from that token carried, is what
// they are at its end.
std::string check_bootstrap(const std::vector<std::string>& state, const std::vector<SeenMessage>& seen,
                            const std::vector<std::string>& state_at_end);
// F7: the parts of a transaction are contiguous and complete, deletes come before creates, and what they carry is what
// the transaction did.
std::string check_atomic(const std::vector<TruthRow>& truth, const std::vector<SeenMessage>& seen);

}  // namespace headgate::testing
