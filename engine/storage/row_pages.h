// Which rows a page of a read has: statements whose cost follows from the page and the filter, not from what the
// planner believes about a tenant, a type or an id.
//
// A page is the visible rows with the lowest ids from `first` on. Where a filter has few rows they are all looked at
// through an index of Permify and sorted; where it has more than that, an index of ours has them in the order of their
// ids. A count decides, no estimate: steps are tried one after the other, and each says itself whether it was enough.
//
// Rows are ordered by the columns of one index: with sorts and sequential scans switched off (kPinnedPlans) only that
// index can serve, in a range that holds nothing else. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "engine/storage/sql.h"

namespace headgate::engine {

struct RowRange {
  std::string tenant;
  const SnapToken& at;  // outlives this
  int64_t first = 0;    // the lowest id of the page
  uint64_t rows = 0;    // of the page, at most
  // Given besides: id, and what else is wanted of the rows; no more than a few hundred bytes.
  std::string columns = "id";
};

struct RowStep {
  // A query expression with the wanted columns and ok: the page is the lowest ids among those that are ok and not below
  // `first`.
  std::string sql;
  // An expression over those rows, as `found`. With more than `bound` the step was not enough, and the next one is to
  // be tried.
  std::string given;
  uint64_t bound = 0;
};

// At least one. The last is always enough.
std::vector<RowStep> steps_of(const Quote& quote, const base::v1::TupleFilter& filter, const RowRange& range);
std::vector<RowStep> steps_of(const Quote& quote, const base::v1::AttributeFilter& filter, const RowRange& range);

// A query expression: the ids of the active rows that a filter names; empty for an empty filter.
std::string active_ids(const Quote& quote, const std::string& tenant, const base::v1::TupleFilter& filter);
std::string active_ids(const Quote& quote, const std::string& tenant, const base::v1::AttributeFilter& filter);

}  // namespace headgate::engine
