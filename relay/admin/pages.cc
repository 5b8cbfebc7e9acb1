#include "relay/admin/pages.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace headgate::relay {

namespace {

using nlohmann::json;

constexpr size_t kPageMax = 1'000;
constexpr const char* kJson = "application/json";

double seconds_since(int64_t now_us, int64_t then_us) {
  return then_us == 0 ? 0 : std::max(0.0, static_cast<double>(now_us - then_us) / 1e6);
}

const char* guarantee_word(sinks::Guarantee guarantee) {
  switch (guarantee) {
    case sinks::Guarantee::kExactlyOnce: return "exactly_once";
    case sinks::Guarantee::kAtLeastOnce: return "at_least_once";
    case sinks::Guarantee::kSignal: return "signal";
  }
  return "unknown";
}

json source_json(const SessionStatus& source, int64_t now_us) {
  return {{"state", state_word(source.state)},
          {"state_seconds", seconds_since(now_us, source.since_us)},
          {"last_error", source.last_error},
          {"incarnation", source.incarnation},
          {"ordered", source.ordered},
          {"position", source.position},
          {"events", source.events},
          {"opened", source.opened},
          {"retries", source.retries},
          {"gaps", source.gaps},
          {"failed_tenants", source.failed_tenants}};
}

json sink_json(const SinkStatus& sink, int64_t now_us) {
  return {{"name", sink.name},
          {"kind", sink.kind},
          {"guarantee", guarantee_word(sink.guarantee)},
          {"state", state_word(sink.state)},
          {"state_seconds", seconds_since(now_us, sink.since_us)},
          {"last_error", sink.last_error},
          {"last_error_seconds", seconds_since(now_us, sink.last_error_us)},
          {"bytes_behind", sink.bytes_behind},
          {"bytes_in_hand", sink.bytes_in_hand},
          {"uncommitted", sink.uncommitted},
          {"delivered", sink.delivered},
          {"duplicates", sink.duplicates},
          {"lag_seconds", sink.lag_seconds},
          {"tenants", sink.tenants},
          {"stopped_tenants", sink.stopped_tenants}};
}

json tenant_json(const TenantStatus& tenant, int64_t now_us) {
  return {{"tenant", tenant.tenant},
          {"sink", tenant.sink},
          {"state", tenant.state},
          {"state_seconds", seconds_since(now_us, tenant.since_us)},
          {"snap_token", tenant.snap_token},
          {"xid", tenant.xid},
          {"sequence", tenant.sequence},
          {"last_event_seconds", seconds_since(now_us, tenant.last_event_us)},
          {"lag_seconds", tenant.lag_seconds},
          {"last_error", tenant.last_error}};
}

std::string text_of(const json& value) { return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n"; }

std::string value_of(const std::map<std::string, std::string>& query, const char* key) {
  const auto found = query.find(key);
  return found == query.end() ? "" : found->second;
}

std::optional<TenantQuery> tenant_query(const std::map<std::string, std::string>& query) {
  if (query.count("tenant") + query.count("after") + query.count("limit") + query.count("stopped") == 0) {
    return std::nullopt;
  }
  TenantQuery asked;
  asked.tenant = value_of(query, "tenant");
  asked.after = value_of(query, "after");
  asked.stopped_only = value_of(query, "stopped") == "1";
  const std::string limit = value_of(query, "limit");
  std::from_chars(limit.data(), limit.data() + limit.size(), asked.limit);
  asked.limit = std::clamp<size_t>(asked.limit, 1, kPageMax);
  return asked;
}

bool healthy(const RelayReport& report) {
  const bool sinks = std::all_of(report.sinks.begin(), report.sinks.end(), [](const SinkStatus& sink) {
    return sink.state == SinkState::kLive && sink.stopped_tenants == 0;
  });
  return sinks && report.phase == "running" && report.source.has_value() &&
         report.source->state == SessionStatus::State::kOpen && report.source->failed_tenants == 0;
}

HttpResponse probe(bool good, const std::string& why) {
  return {good ? 200 : 503, "text/plain; charset=utf-8", good ? "ok\n" : why + "\n"};
}

}  // namespace

std::string status_json(const RelayView& view, const std::map<std::string, std::string>& query) {
  const RelayReport report = view.report();
  json page{
      {"name", report.name},
      {"version", report.version},
      {"status", healthy(report) ? "healthy" : "degraded"},
      {"phase", report.phase},
      {"phase_seconds", seconds_since(report.now_us, report.since_us)},
      {"phase_error", report.phase_error},
      {"uptime_seconds", seconds_since(report.now_us, report.started_us)},
      {"epoch", report.epoch},
      {"fenced", report.fenced},
      {"hub", {{"bytes", report.hub_bytes}, {"bytes_max", report.hub_bytes_max}, {"blocked", report.hub_blocked}}},
      {"sinks", json::array()}};
  page["upstream"] = report.source.has_value() ? source_json(*report.source, report.now_us) : json();
  for (const SinkStatus& sink : report.sinks) page["sinks"].push_back(sink_json(sink, report.now_us));
  const std::optional<TenantQuery> asked = tenant_query(query);
  if (asked.has_value()) {
    page["tenants"] = json::array();
    for (const TenantStatus& tenant : view.tenants(*asked)) {
      page["tenants"].push_back(tenant_json(tenant, report.now_us));
    }
  }
  return text_of(page);
}

void add_pages(HttpServer& server, const RelayView& view, Metrics& metrics, Readiness& readiness) {
  // Only the process: restarting it repairs neither the source nor a sink.
  server.route("/livez", [](const HttpRequest&) { return probe(true, ""); });
  server.route("/startupz",
               [&view](const HttpRequest&) { return probe(has_started(view.report()), "not started yet"); });
  server.route("/readyz", [&view, &readiness](const HttpRequest&) {
    const ReadinessAnswer answer = readiness.judge(view.report());
    return probe(answer.ready, answer.why);
  });
  server.route("/status", [&view](const HttpRequest& request) {
    return HttpResponse{200, kJson, status_json(view, request.query)};
  });
  server.route("/metrics", [&metrics](const HttpRequest&) {
    return HttpResponse{200, Metrics::content_type(), metrics.exposition()};
  });
}

}  // namespace headgate::relay
