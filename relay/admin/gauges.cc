// The gauges of /metrics that are read when they are asked for: one report a scrape.
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include "relay/admin/pages.h"

namespace headgate::relay {

namespace {

using prometheus::MetricFamily;

struct SinkGauge {
  const char* name;
  const char* help;
  double (*read)(const SinkStatus&);
};

constexpr SinkGauge kSinkGauges[] = {
    {"headgate_relay_sink_behind_bytes", "Bytes in the ring that the sink has not read",
     [](const SinkStatus& s) { return static_cast<double>(s.bytes_behind); }},
    {"headgate_relay_sink_in_hand_bytes", "Bytes read and not yet acknowledged",
     [](const SinkStatus& s) { return static_cast<double>(s.bytes_in_hand); }},
    {"headgate_relay_sink_lag_seconds", "Age of the oldest event in hand",
     [](const SinkStatus& s) { return s.lag_seconds; }},
    {"headgate_relay_sink_age_seconds", "How old is what the sink has: time since it had all that the source had",
     [](const SinkStatus& s) { return s.age_seconds; }},
    {"headgate_relay_sink_uncommitted_events", "Acknowledged events that the token store does not know yet",
     [](const SinkStatus& s) { return static_cast<double>(s.uncommitted); }},
    {"headgate_relay_sink_tenants", "Tenants of which the sink has had an event",
     [](const SinkStatus& s) { return static_cast<double>(s.tenants); }},
    {"headgate_relay_sink_stopped_tenants", "Tenants that stand still in this sink",
     [](const SinkStatus& s) { return static_cast<double>(s.stopped_tenants); }},
    {"headgate_relay_sink_max_event_bytes", "Largest event that the sink takes; 0: no limit is known",
     [](const SinkStatus& s) { return static_cast<double>(s.max_event_bytes); }},
};

constexpr SinkState kSinkStates[] = {SinkState::kStarting, SinkState::kLive,    SinkState::kCatchingUp,
                                     SinkState::kRetrying, SinkState::kBlocked, SinkState::kFenced,
                                     SinkState::kStopped};

class Scrape {
 public:
  void family(const char* name, const char* help) {
    families_.push_back({name, help, prometheus::MetricType::Gauge, {}});
  }
  // To the family that came last.
  void add(double value, const Labels& labels = {}) {
    prometheus::ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    metric.gauge.value = value;
    families_.back().metric.push_back(std::move(metric));
  }
  void single(const char* name, const char* help, double value) {
    family(name, help);
    add(value);
  }
  std::vector<MetricFamily> take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

class RelayGauges : public prometheus::Collectable {
 public:
  RelayGauges(const RelayView& view, std::vector<std::string> sinks) : view_(view), sinks_(std::move(sinks)) {}

  std::vector<MetricFamily> Collect() const override {
    const RelayReport report = view_.report();
    Scrape scrape;
    scrape.single("headgate_relay_hub_bytes", "Bytes in the ring of recent events",
                  static_cast<double>(report.hub_bytes));
    scrape.single("headgate_relay_hub_bytes_max", "Bound of the ring", static_cast<double>(report.hub_bytes_max));
    scrape.single("headgate_relay_hub_blocked", "1 while the source is held back because all sinks stand still",
                  report.hub_blocked ? 1 : 0);
    scrape.single("headgate_relay_source_event_bytes_max", "Largest event that is to be expected of the source",
                  static_cast<double>(report.source_event_bytes));
    add_source(scrape, report.source);
    add_sinks(scrape, report.sinks);
    return scrape.take();
  }

 private:
  static void add_source(Scrape& scrape, const std::optional<SessionStatus>& source) {
    using State = SessionStatus::State;
    scrape.single("headgate_relay_source_position", "Position that the source has told",
                  source ? static_cast<double>(source->position) : 0);
    scrape.single("headgate_relay_source_failed_tenants", "Tenants whose start the source refuses",
                  source ? static_cast<double>(source->failed_tenants) : 0);
    scrape.family("headgate_relay_source_state", "1 for the state that the main stream is in");
    for (const State state : {State::kConnecting, State::kOpen, State::kWaiting, State::kHistoryLost, State::kEnded}) {
      scrape.add(source && source->state == state ? 1 : 0, {{"state", state_word(state)}});
    }
  }

  // Every sink of the configuration has its series from the start on.
  void add_sinks(Scrape& scrape, const std::vector<SinkStatus>& reported) const {
    std::vector<SinkStatus> all;
    for (const std::string& name : sinks_) {
      const auto found =
          std::find_if(reported.begin(), reported.end(), [&](const SinkStatus& sink) { return sink.name == name; });
      all.push_back(found == reported.end() ? SinkStatus{.name = name} : *found);
    }
    for (const SinkGauge& gauge : kSinkGauges) {
      scrape.family(gauge.name, gauge.help);
      for (const SinkStatus& sink : all) scrape.add(gauge.read(sink), {{"sink", sink.name}});
    }
    scrape.family("headgate_relay_sink_state", "1 for the state that the sink is in");
    for (const SinkStatus& sink : all) {
      for (const SinkState state : kSinkStates) {
        const bool here = sink.state == state && !reported.empty();
        scrape.add(here ? 1 : 0, {{"sink", sink.name}, {"state", state_word(state)}});
      }
    }
    scrape.family("headgate_relay_sink_refused", "1 while the sink's server refuses, by the kind of refusal");
    for (const SinkStatus& sink : all) {
      for (const RefusalKind kind : kRefusalKinds) {
        scrape.add(sink.refusal == kind ? 1 : 0, {{"sink", sink.name}, {"reason", std::string(refusal_word(kind))}});
      }
    }
    scrape.family("headgate_relay_stopped_tenants", "Tenants that stand still in a sink, by the reason");
    for (const SinkStatus& sink : all) {
      for (const auto& [reason, count] : sink.stopped_reasons) {
        scrape.add(static_cast<double>(count), {{"sink", sink.name}, {"reason", reason}});
      }
    }
  }

  const RelayView& view_;
  const std::vector<std::string> sinks_;
};

}  // namespace

void add_gauges(Metrics& metrics, const RelayView& view, const std::vector<std::string>& sinks) {
  metrics.gauge("headgate_relay_info", "Always 1", {{"version", view.report().version}}).Set(1);
  metrics.collect_from(std::make_shared<RelayGauges>(view, sinks));
}

}  // namespace headgate::relay
