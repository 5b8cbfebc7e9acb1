// Metrics of one process: counters, gauges and histograms whose labels are fixed when they are made.
//
// Making takes a lock and is done at start or when a part appears. Counting goes through the reference, which lives as
// long as the Metrics object: counters and gauges without a lock, histograms with one of their own, briefly. Making the
// same name with the same labels again returns the same metric. Thread-safe. Names:
// headgate_<part>_<what>_<unit>[_total].
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace prometheus {
class Collectable;
class Registry;
}  // namespace prometheus

namespace headgate {

using Counter = prometheus::Counter;
using Gauge = prometheus::Gauge;
using Histogram = prometheus::Histogram;
using Labels = std::map<std::string, std::string>;

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // `bounds`: ascending upper limits of the buckets; empty takes those of seconds_bounds().
  Histogram& histogram(const std::string& name, const std::string& help, const Labels& labels = {},
                       std::vector<double> bounds = {});
  // A gauge whose value is asked for at every scrape. The function must be callable until exposition() is no longer
  // called; it must not block.
  void gauge_from(const std::string& name, const std::string& help, const Labels& labels, std::function<double()> read);

  // The same for a number that only grows and is counted elsewhere.
  void counter_from(const std::string& name, const std::string& help, const Labels& labels,
                    std::function<double()> read);

  // Families that are made anew at every scrape, for values that belong together. Asked as gauge_from() asks.
  void collect_from(std::shared_ptr<prometheus::Collectable> source);

  // Prometheus' text format 0.0.4.
  std::string exposition();
  // Content type of exposition().
  static const char* content_type() { return "text/plain; version=0.0.4; charset=utf-8"; }
  // 100 us to 1 min, for how long something took.
  static std::vector<double> seconds_bounds();
  // 1 ms to a day, for how old something is.
  static std::vector<double> age_bounds();

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  Mutex mutex_;
  std::vector<std::function<void()>> before_scrape_ GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<prometheus::Collectable>> collected_ GUARDED_BY(mutex_);
};

}  // namespace headgate
