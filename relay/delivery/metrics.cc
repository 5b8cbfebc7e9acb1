#include "relay/delivery/metrics.h"

namespace headgate::relay {

namespace {

// In the order of RefusalKind, all there from the start on.
std::vector<Counter*> refusal_counters(Metrics& metrics, const std::string& name, const std::string& help,
                                       const Labels& labels) {
  std::vector<Counter*> counters;
  for (const RefusalKind kind : kRefusalKinds) {
    Labels with_reason = labels;
    with_reason["reason"] = refusal_word(kind);
    counters.push_back(&metrics.counter(name, help, with_reason));
  }
  return counters;
}

}  // namespace

SinkMetrics::SinkMetrics(Metrics& metrics, const std::string& sink)
    : events_(
          metrics.counter("headgate_relay_sink_events_total", "Events that the sink acknowledged", {{"sink", sink}})),
      bytes_(metrics.counter("headgate_relay_sink_bytes_total", "Bytes of acknowledged events as they were queued",
                             {{"sink", sink}})),
      duplicates_(metrics.counter("headgate_relay_sink_duplicates_skipped_total",
                                  "Events skipped because the sink has them", {{"sink", sink}})),
      dropped_(metrics.counter("headgate_relay_sink_stopped_tenant_events_total",
                               "Events not delivered because their tenant is stopped in this sink", {{"sink", sink}})),
      write_failures_(metrics.counter("headgate_relay_sink_write_failures_total", "Writes that the sink refused",
                                      {{"sink", sink}})),
      refusals_(refusal_counters(metrics, "headgate_relay_sink_refusals_total",
                                 "Attempts to open or to write that the sink's server refused, by the kind of refusal",
                                 {{"sink", sink}})),
      cursors_(metrics.counter("headgate_relay_cursors_committed_total", "Cursors committed to the token store",
                               {{"sink", sink}})),
      commit_failures_(metrics.counter("headgate_relay_commit_failures_total",
                                       "Commits that the token store refused or did not answer", {{"sink", sink}})),
      poison_(metrics.counter("headgate_relay_sink_poison_total", "Events that the sink can never accept",
                              {{"sink", sink}})),
      dead_letters_(metrics.counter("headgate_relay_sink_dead_letters_total", "Events written to the dead letter file",
                                    {{"sink", sink}})),
      fenced_(
          metrics.counter("headgate_relay_sink_fenced_total", "Times a newer relay had taken over", {{"sink", sink}})),
      lagged_(metrics.counter("headgate_relay_sink_lagged_total",
                              "Times the sink lost its place in the ring and had to read again from the source",
                              {{"sink", sink}})),
      caught_up_(metrics.counter("headgate_relay_sink_caught_up_total", "Times the sink came back to the ring",
                                 {{"sink", sink}})),
      rewound_(metrics.counter("headgate_relay_sink_rewound_tenants_total",
                               "Tenants replayed because the sink had lost acknowledged events", {{"sink", sink}})),
      write_seconds_(
          metrics.histogram("headgate_relay_sink_write_seconds", "Time of one write to the sink", {{"sink", sink}})),
      commit_seconds_(metrics.histogram("headgate_relay_commit_seconds", "Time of one commit to the token store",
                                        {{"sink", sink}})),
      delay_(metrics.histogram("headgate_relay_sink_delay_seconds",
                               "From the start of the transaction to the acknowledgement of the sink", {{"sink", sink}},
                               Metrics::age_bounds())) {}

void SinkMetrics::on_written(size_t events, size_t bytes, double seconds) {
  events_.Increment(static_cast<double>(events));
  bytes_.Increment(static_cast<double>(bytes));
  write_seconds_.Observe(seconds);
}

void SinkMetrics::on_committed(size_t cursors, double seconds) {
  cursors_.Increment(static_cast<double>(cursors));
  commit_seconds_.Observe(seconds);
}

SessionMetrics::SessionMetrics(Metrics& metrics, const std::string& session)
    : opens_(metrics.counter("headgate_relay_source_opens_total", "Times a stream to the source stood",
                             {{"session", session}})),
      events_(metrics.counter("headgate_relay_source_events_total", "Events received from the source",
                              {{"session", session}})),
      ends_(metrics.counter("headgate_relay_source_ends_total", "Times a stream ended or could not be opened",
                            {{"session", session}})),
      gaps_(metrics.counter("headgate_relay_gaps_total", "GAP events made because history was lost at the source",
                            {{"session", session}})),
      failures_(metrics.counter("headgate_relay_tenant_failures_total", "Tenants whose start the source refused",
                                {{"session", session}})),
      refusals_(refusal_counters(metrics, "headgate_relay_source_refusals_total",
                                 "Streams that ended or could not be opened, by the kind of refusal",
                                 {{"session", session}})) {}

}  // namespace headgate::relay
