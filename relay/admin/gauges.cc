// The gauges of /metrics that are read when they are asked for.
#include "relay/admin/pages.h"

namespace headgate::relay {

namespace {

using ReadSource = double (*)(const SessionStatus&);
using ReadSink = double (*)(const SinkStatus&);

struct SinkGauge {
  const char* name;
  const char* help;
  ReadSink read;
};

const std::vector<SinkGauge>& sink_gauges() {
  static const std::vector<SinkGauge> gauges = {
      {"headgate_relay_sink_behind_bytes", "Bytes in the ring that the sink has not read",
       [](const SinkStatus& s) { return static_cast<double>(s.bytes_behind); }},
      {"headgate_relay_sink_in_hand_bytes", "Bytes read and not yet acknowledged",
       [](const SinkStatus& s) { return static_cast<double>(s.bytes_in_hand); }},
      {"headgate_relay_sink_lag_seconds", "Age of the oldest event in hand",
       [](const SinkStatus& s) { return s.lag_seconds; }},
      {"headgate_relay_sink_uncommitted_events", "Acknowledged events that the token store does not know yet",
       [](const SinkStatus& s) { return static_cast<double>(s.uncommitted); }},
      {"headgate_relay_sink_tenants", "Tenants of which the sink has had an event",
       [](const SinkStatus& s) { return static_cast<double>(s.tenants); }},
      {"headgate_relay_sink_stopped_tenants", "Tenants that stand still in this sink",
       [](const SinkStatus& s) { return static_cast<double>(s.stopped_tenants); }},
  };
  return gauges;
}

double read_sink(const RelayView& view, const std::string& name, const std::function<double(const SinkStatus&)>& read) {
  for (const SinkStatus& sink : view.report().sinks) {
    if (sink.name == name) return read(sink);
  }
  return 0;
}

void add_sink_gauges(Metrics& metrics, const RelayView& view, const std::string& name) {
  for (const SinkGauge& gauge : sink_gauges()) {
    metrics.gauge_from(gauge.name, gauge.help, {{"sink", name}},
                       [&view, name, read = gauge.read] { return read_sink(view, name, read); });
  }
  for (const SinkState state : {SinkState::kStarting, SinkState::kLive, SinkState::kCatchingUp, SinkState::kRetrying,
                                SinkState::kBlocked, SinkState::kFenced, SinkState::kStopped}) {
    metrics.gauge_from("headgate_relay_sink_state", "1 for the state that the sink is in",
                       {{"sink", name}, {"state", state_word(state)}}, [&view, name, state] {
                         return read_sink(view, name, [state](const SinkStatus& s) { return s.state == state; });
                       });
  }
}

void add_source_gauge(Metrics& metrics, const RelayView& view, const char* name, const char* help, ReadSource read) {
  metrics.gauge_from(name, help, {}, [&view, read] {
    const RelayReport report = view.report();
    return report.source.has_value() ? read(*report.source) : 0.0;
  });
}

}  // namespace

void add_gauges(Metrics& metrics, const RelayView& view, const std::vector<std::string>& sinks) {
  using State = SessionStatus::State;
  metrics.gauge("headgate_relay_info", "Always 1", {{"version", view.report().version}}).Set(1);
  metrics.gauge_from("headgate_relay_hub_bytes", "Bytes in the ring of recent events", {},
                     [&view] { return static_cast<double>(view.report().hub_bytes); });
  metrics.gauge_from("headgate_relay_hub_bytes_max", "Bound of the ring", {},
                     [&view] { return static_cast<double>(view.report().hub_bytes_max); });
  metrics.gauge_from("headgate_relay_hub_blocked", "1 while the source is held back because all sinks stand still", {},
                     [&view] { return view.report().hub_blocked ? 1.0 : 0.0; });
  add_source_gauge(metrics, view, "headgate_relay_source_position", "Position that the source has told",
                   [](const SessionStatus& s) { return static_cast<double>(s.position); });
  add_source_gauge(metrics, view, "headgate_relay_source_failed_tenants", "Tenants whose start the source refuses",
                   [](const SessionStatus& s) { return static_cast<double>(s.failed_tenants); });
  for (const State state : {State::kConnecting, State::kOpen, State::kWaiting, State::kHistoryLost, State::kEnded}) {
    metrics.gauge_from("headgate_relay_source_state", "1 for the state that the main stream is in",
                       {{"state", state_word(state)}}, [&view, state] {
                         const RelayReport report = view.report();
                         return report.source.has_value() && report.source->state == state ? 1.0 : 0.0;
                       });
  }
  for (const std::string& sink : sinks) add_sink_gauges(metrics, view, sink);
}

}  // namespace headgate::relay
