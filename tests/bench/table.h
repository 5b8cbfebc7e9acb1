// The bench's result: one Markdown table with the machine's description.
#pragma once

#include <string>
#include <vector>

namespace headgate::bench {

struct Row {
  std::string what;
  std::string value;
  std::string limit;  // what bounds it, measured in the same run; empty without one
  std::string ratio;  // value / limit
  std::string note;   // how it was verified, and under what conditions
};

class Table {
 public:
  void add(Row row);
  // Heading, machine and rows.
  std::string markdown() const;
  // Writes markdown() to the file of HEADGATE_BENCH_RESULTS, when that is set.
  void save() const;

 private:
  std::vector<Row> rows_;
};

// "123 k/s", "4.5 ms", "0.87".
std::string per_second(double rate);
std::string milliseconds(double ms);
std::string ratio(double value, double limit);

// Value at `share` (0..1) of the sorted list; 0 of an empty one.
double percentile(std::vector<double> values, double share);

}  // namespace headgate::bench
