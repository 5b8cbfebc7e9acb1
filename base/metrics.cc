#include "base/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace headgate {

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add(labels);
}

Gauge& Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add(labels);
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help, const Labels& labels,
                              std::vector<double> bounds) {
  if (bounds.empty()) bounds = seconds_bounds();
  return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_).Add(labels, bounds);
}

void Metrics::gauge_from(const std::string& name, const std::string& help, const Labels& labels,
                         std::function<double()> read) {
  Gauge& made = gauge(name, help, labels);
  MutexLock lock(mutex_);
  before_scrape_.push_back([&made, read = std::move(read)] { made.Set(read()); });
}

void Metrics::counter_from(const std::string& name, const std::string& help, const Labels& labels,
                           std::function<double()> read) {
  Counter& made = counter(name, help, labels);
  MutexLock lock(mutex_);
  before_scrape_.push_back([&made, read = std::move(read)] {
    const double growth = read() - made.Value();
    if (growth > 0) made.Increment(growth);
  });
}

void Metrics::collect_from(std::shared_ptr<prometheus::Collectable> source) {
  MutexLock lock(mutex_);
  collected_.push_back(std::move(source));
}

std::string Metrics::exposition() {
  MutexLock lock(mutex_);
  for (const std::function<void()>& refresh : before_scrape_) refresh();
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (const auto& source : collected_) {
    for (prometheus::MetricFamily& family : source->Collect()) families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

std::vector<double> Metrics::seconds_bounds() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

std::vector<double> Metrics::age_bounds() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25, 0.5,   1,     2.5,
          5,     10,     30,    60,   300,   900,  1800, 3600, 14400, 43200, 86400};
}

}  // namespace headgate
