#include "relay/admin/pages.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/log.h"

namespace headgate::relay {

namespace {

using nlohmann::json;

constexpr size_t kPageMax = 1'000;
constexpr size_t kNamedMax = 5;  // stopped tenants that /readyz names, of each sink
constexpr const char* kJson = "application/json";
constexpr const char* kText = "text/plain; charset=utf-8";

constexpr const char* kIndex =
    R"(GET  /livez                   200 while the process runs
GET  /startupz                200 once the source has stood
GET  /readyz                  200 when the relay can work; ?verbose tells each part
GET  /status                  JSON; ?tenant=, ?after=&limit=&stopped=1 add lines of tenants
GET  /tenants/{tenant}        JSON: its place and state in each sink
POST /tenants/{tenant}/resume go on with a tenant that stands still; ?sink= in one sink alone,
                              ?on_gap=from_head or snapshot decides what follows a history that is gone
GET  /metrics                 Prometheus
)";

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
          {"refusal", source.refusal ? refusal_word(*source.refusal) : ""},
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
          {"refusal", sink.refusal ? refusal_word(*sink.refusal) : ""},
          {"refusal_seconds", sink.refusal ? seconds_since(now_us, sink.refused_since_us) : 0.0},
          {"commit_error", sink.commit_error},
          {"bytes_behind", sink.bytes_behind},
          {"bytes_in_hand", sink.bytes_in_hand},
          {"uncommitted", sink.uncommitted},
          {"delivered", sink.delivered},
          {"duplicates", sink.duplicates},
          {"lag_seconds", sink.lag_seconds},
          {"max_event_bytes", sink.max_event_bytes},
          {"stopped_reasons", sink.stopped_reasons},
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

// INVALID_ARGUMENT when something in it cannot be read; nothing when tenants are not asked for.
StatusOr<std::optional<TenantQuery>> tenant_query(const std::map<std::string, std::string>& query) {
  if (query.count("tenant") + query.count("after") + query.count("limit") + query.count("stopped") == 0) {
    return std::nullopt;
  }
  TenantQuery asked;
  asked.tenant = value_of(query, "tenant");
  asked.after = value_of(query, "after");
  const std::string stopped = value_of(query, "stopped");
  if (!stopped.empty() && stopped != "0" && stopped != "1") {
    return invalid_argument("stopped is '{}'; it must be 0 or 1", stopped);
  }
  asked.stopped_only = stopped == "1";
  if (query.count("limit") == 0) return std::optional(asked);
  const std::string limit = value_of(query, "limit");
  const auto [end, fault] = std::from_chars(limit.data(), limit.data() + limit.size(), asked.limit);
  if (fault != std::errc() || end != limit.data() + limit.size() || asked.limit < 1 || asked.limit > kPageMax) {
    return invalid_argument("limit is '{}'; it must be a number from 1 to {}", limit, kPageMax);
  }
  return std::optional(asked);
}

std::string refused_text(const SinkStatus& sink, int64_t now_us) {
  if (!sink.refusal) return "";
  return fmt::format(", refused ({}) for {:.0f} s", refusal_word(*sink.refusal),
                     seconds_since(now_us, sink.refused_since_us));
}

HttpResponse text_page(int status, std::string text) { return {status, kText, std::move(text) + "\n"}; }

int http_status_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk: return 200;
    case StatusCode::kInvalidArgument: return 400;
    case StatusCode::kNotFound: return 404;
    case StatusCode::kFailedPrecondition: return 409;
    case StatusCode::kUnimplemented: return 501;
    case StatusCode::kUnavailable: return 503;
    default: return 500;
  }
}

bool healthy(const RelayReport& report) {
  const bool sinks = std::all_of(report.sinks.begin(), report.sinks.end(), [](const SinkStatus& sink) {
    return sink.state == SinkState::kLive && sink.stopped_tenants == 0;
  });
  return sinks && report.phase == "running" && report.source.has_value() &&
         report.source->state == SessionStatus::State::kOpen && report.source->failed_tenants == 0;
}

HttpResponse probe(bool good, const std::string& why) { return text_page(good ? 200 : 503, good ? "ok" : why); }

// "3: a in kafka (POISON), ..." without the number.
std::string names_of_stopped(const RelayView& view) {
  std::string names;
  for (const TenantStatus& line : view.tenants({.limit = kNamedMax, .stopped_only = true})) {
    names += fmt::format("{}{} in {} ({})", names.empty() ? "" : ", ", line.tenant, line.sink, line.state);
  }
  return names;
}

}  // namespace

HttpResponse status_page(const RelayView& view, const std::map<std::string, std::string>& query) {
  const auto asked = tenant_query(query);
  if (!asked.ok()) return text_page(400, message_of(asked.status()));
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
  if (asked->has_value()) {
    page["tenants"] = json::array();
    for (const TenantStatus& tenant : view.tenants(**asked)) {
      page["tenants"].push_back(tenant_json(tenant, report.now_us));
    }
  }
  return {200, kJson, text_of(page)};
}

HttpResponse tenant_page(const RelayView& view, const std::string& tenant) {
  const std::vector<TenantStatus> lines = view.tenants({.tenant = tenant});
  if (lines.empty()) {
    return text_page(404, fmt::format("no sink has had an event of tenant '{}', and it stands still in none", tenant));
  }
  const int64_t now_us = view.report().now_us;
  json page{{"tenant", tenant}, {"sinks", json::array()}};
  for (const TenantStatus& line : lines) page["sinks"].push_back(tenant_json(line, now_us));
  return {200, kJson, text_of(page)};
}

HttpResponse ready_page(const RelayView& view, const ReadinessAnswer& answer, bool verbose) {
  if (!verbose) return probe(answer.ready, answer.why);
  const RelayReport report = view.report();
  std::string text = answer.ready && answer.why.empty() ? "ready"
                     : answer.ready                     ? "ready, but " + answer.why
                                                        : answer.why;
  text += fmt::format("\nphase: {}{}", report.phase, report.phase_error.empty() ? "" : ": " + report.phase_error);
  text += fmt::format("\ntoken store: {}", report.fenced       ? "another relay of this name has taken over"
                                           : report.epoch == 0 ? "not owned yet"
                                                               : fmt::format("owned, epoch {}", report.epoch));
  if (report.source.has_value()) {
    text += fmt::format("\nsource: {}{}, opened {} times{}", state_word(report.source->state),
                        report.source->refusal ? fmt::format(" ({})", refusal_word(*report.source->refusal)) : "",
                        report.source->opened,
                        report.source->last_error.empty() ? "" : ", last error: " + report.source->last_error);
  }
  size_t stopped = 0;
  for (const SinkStatus& sink : report.sinks) {
    stopped += sink.stopped_tenants;
    text += fmt::format("\nsink {}: {}{}{}", sink.name, state_word(sink.state), refused_text(sink, report.now_us),
                        sink.state == SinkState::kLive || sink.last_error.empty() ? "" : ": " + sink.last_error);
    if (!sink.commit_error.empty()) text += "; the token store does not take its cursors: " + sink.commit_error;
    if (sink.max_event_bytes > 0 && sink.max_event_bytes < report.source_event_bytes) {
      text += fmt::format("; takes events of {} bytes at most, the source may send {}", sink.max_event_bytes,
                          report.source_event_bytes);
    }
  }
  text += fmt::format("\nstopped tenants: {}", stopped);
  if (stopped > 0) {
    text += fmt::format(
        ": {}{}\nNeither they nor a sink make the relay unready, since a restart would not help them: see "
        "/status?stopped=1, and POST /tenants/{{tenant}}/resume.",
        names_of_stopped(view), stopped > kNamedMax ? " and others" : "");
  }
  return text_page(answer.ready ? 200 : 503, std::move(text));
}

HttpResponse resume_page(RelayControl& control, const AdminAccess& access, const HttpRequest& request) {
  if (auto refused = refusal(access, request)) return *std::move(refused);
  const std::string& tenant = request.parts.at(0);
  ResumeOrder asked{tenant, value_of(request.query, "sink")};
  if (const auto word = request.query.find("on_gap"); word != request.query.end()) {
    if (word->second != "from_head" && word->second != "snapshot") {
      return text_page(400, fmt::format("on_gap is '{}'; it must be from_head or snapshot", word->second));
    }
    asked.on_gap = word->second == "snapshot" ? GapPolicy::kSnapshot : GapPolicy::kFromHead;
  }
  const Status status = control.resume(asked);
  log_info("resume_asked", {{"tenant", tenant},
                            {"sink", asked.sink.empty() ? "all" : asked.sink},
                            {"on_gap", value_of(request.query, "on_gap")},
                            {"answer", describe(status)}});
  if (!status.ok()) return text_page(http_status_of(status), message_of(status));
  return text_page(202, fmt::format("tenant '{}' goes on; /tenants/{{tenant}} tells how", tenant));
}

void add_pages(HttpServer& server, const RelayView& view, RelayControl& control, Metrics& metrics, Readiness& readiness,
               std::function<AdminAccess()> access) {
  add_http_metrics(metrics, server);
  server.route("/", [](const HttpRequest&) { return HttpResponse{200, kText, kIndex}; });
  // Only the process: restarting it repairs neither the source nor a sink.
  server.route("/livez", [](const HttpRequest&) { return probe(true, ""); });
  server.route("/startupz",
               [&view](const HttpRequest&) { return probe(has_started(view.report()), "not started yet"); });
  server.route("/readyz", [&view, &readiness](const HttpRequest& request) {
    return ready_page(view, readiness.judge(view.report()), request.query.count("verbose") != 0);
  });
  server.route("/status", [&view](const HttpRequest& request) { return status_page(view, request.query); });
  server.route("/tenants/{}", [&view](const HttpRequest& request) { return tenant_page(view, request.parts.at(0)); });
  server.route_post("/tenants/{}/resume", [&control, access = std::move(access)](const HttpRequest& request) {
    return resume_page(control, access(), request);
  });
  server.route("/metrics", [&metrics](const HttpRequest&) {
    return HttpResponse{200, Metrics::content_type(), metrics.exposition()};
  });
}

}  // namespace headgate::relay
