#include "engine/gc/collector.h"

#include "base/log.h"
#include "base/postgres/errors.h"
#include "engine/storage/history_removal.h"

namespace headgate::engine {

namespace {
constexpr int kRefusalsMax = 20;
constexpr Duration kAfterRefusal{250};
}  // namespace

Collector::Collector(GcSettings settings, GcHolds holds, Clock& clock)
    : settings_(std::move(settings)), holds_(std::move(holds)), clock_(clock) {}

Collector::~Collector() = default;

void Collector::start() {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

void Collector::run(std::stop_token stop) {
  while (clock_.sleep(settings_.interval, stop)) {
    const auto report = collect_once(stop);
    if (!report.ok()) {
      log_warn("gc_failed", {{"reason", describe(report.status())}});
    } else if (report->tenants > 0 || report->lives > 0) {
      log_info("gc_collected", {{"tenants", report->tenants},
                                {"tuples", report->tuples},
                                {"attributes", report->attributes},
                                {"transactions", report->transactions},
                                {"lives", report->lives}});
    }
  }
}

// Holds must be published, so a server without a free place is asked for a while.
StatusOr<std::unique_ptr<HistoryRemoval>> Collector::open(std::stop_token stop) {
  for (int attempt = 0;; ++attempt) {
    auto opened = HistoryRemoval::open(settings_.uri, stop);
    if (!no_connection_left(opened.status()) || attempt == kRefusalsMax) return opened;
    if (settings_.on_refused) settings_.on_refused(opened.status());
    if (!system_clock().sleep(kAfterRefusal, stop)) return opened;
  }
}

StatusOr<GcReport> Collector::collect_once(std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(const auto history, open(stop));
  // Holds outlast three missed turns of this process. Those of tenants that are not named any more run out by
  // themselves.
  HG_RETURN_IF_ERROR(history->publish_holds(settings_.holder, 4 * settings_.interval,
                                            holds_ ? holds_() : std::map<std::string, uint64_t>()));
  GcReport report;
  if (!settings_.collect) return report;
  HG_ASSIGN_OR_RETURN(const bool locked, history->lock());
  report.elsewhere = !locked;
  if (!locked) return report;
  HG_ASSIGN_OR_RETURN(const std::vector<std::string> tenants, history->tenants());
  for (const std::string& tenant : tenants) {
    if (stop.stop_requested()) break;
    HG_RETURN_IF_ERROR(collect_tenant(*history, tenant, stop, report));
  }
  const auto lives = [&] { return history->remove_lives(settings_.window, settings_.batch); };
  HG_RETURN_IF_ERROR(remove_all(lives, stop, report.lives));
  return report;
}

Status Collector::collect_tenant(HistoryRemoval& history, const std::string& tenant, std::stop_token stop,
                                 GcReport& report) {
  HG_ASSIGN_OR_RETURN(const std::optional<std::string> floor, history.raise_floor(tenant, settings_.window));
  if (!floor) return ok_status();
  const std::pair<RemovableRows, uint64_t*> kinds[] = {{RemovableRows::kTuples, &report.tuples},
                                                       {RemovableRows::kAttributes, &report.attributes},
                                                       {RemovableRows::kTransactions, &report.transactions}};
  uint64_t removed = 0;
  for (const auto& [rows, count] : kinds) {
    const RemovableRows kind = rows;
    uint64_t found = 0;
    const auto remove = [&] { return history.remove(kind, tenant, *floor, settings_.batch); };
    HG_RETURN_IF_ERROR(remove_all(remove, stop, found));
    *count += found;
    removed += found;
  }
  report.tenants += removed > 0;
  return ok_status();
}

Status Collector::remove_all(const std::function<StatusOr<uint64_t>()>& remove, std::stop_token stop,
                             uint64_t& removed) {
  uint64_t batch = 0;
  do {
    if (stop.stop_requested()) break;
    if (batch > 0) clock_.sleep(settings_.batch_pause, stop);
    HG_ASSIGN_OR_RETURN(batch, remove());
    removed += batch;
  } while (batch == static_cast<uint64_t>(settings_.batch));
  return ok_status();
}

}  // namespace headgate::engine
