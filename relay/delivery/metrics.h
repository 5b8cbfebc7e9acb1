// What one sink's worker counts, in verbs. Thread-safe; the names are pinned by relay/admin/metrics.golden.
#pragma once

#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/refusals.h"

namespace headgate::relay {

class SinkMetrics {
 public:
  SinkMetrics(Metrics& metrics, const std::string& sink);

  void on_written(size_t events, size_t bytes, double seconds);
  void on_delay(double seconds) { delay_.Observe(seconds); }
  void on_duplicates(size_t events) { duplicates_.Increment(static_cast<double>(events)); }
  void on_dropped_of_stopped_tenant() { dropped_.Increment(); }
  void on_write_failed() { write_failures_.Increment(); }
  void on_refused(RefusalKind kind) { refusals_.at(static_cast<size_t>(kind))->Increment(); }
  void on_committed(size_t cursors, double seconds);
  void on_commit_failed() { commit_failures_.Increment(); }
  void on_poison() { poison_.Increment(); }
  void on_dead_letter() { dead_letters_.Increment(); }
  void on_fenced() { fenced_.Increment(); }
  void on_lagged() { lagged_.Increment(); }
  void on_caught_up() { caught_up_.Increment(); }
  void on_rewound() { rewound_.Increment(); }

 private:
  Counter& events_;
  Counter& bytes_;
  Counter& duplicates_;
  Counter& dropped_;
  Counter& write_failures_;
  std::vector<Counter*> refusals_;  // by RefusalKind
  Counter& cursors_;
  Counter& commit_failures_;
  Counter& poison_;
  Counter& dead_letters_;
  Counter& fenced_;
  Counter& lagged_;
  Counter& caught_up_;
  Counter& rewound_;
  Histogram& write_seconds_;
  Histogram& commit_seconds_;
  Histogram& delay_;
};

// What one session counts; sessions of sinks that catch up share the label "catch_up".
class SessionMetrics {
 public:
  SessionMetrics(Metrics& metrics, const std::string& session);

  void on_opened() { opens_.Increment(); }
  void on_events(size_t events) { events_.Increment(static_cast<double>(events)); }
  void on_ended() { ends_.Increment(); }
  void on_gap() { gaps_.Increment(); }
  void on_tenant_failed() { failures_.Increment(); }
  void on_refused(RefusalKind kind) { refusals_.at(static_cast<size_t>(kind))->Increment(); }

 private:
  Counter& opens_;
  Counter& events_;
  Counter& ends_;
  Counter& gaps_;
  Counter& failures_;
  std::vector<Counter*> refusals_;  // by RefusalKind
};

}  // namespace headgate::relay
