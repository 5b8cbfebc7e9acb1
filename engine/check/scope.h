// What the questions of one request have in common.
#pragma once

#include <functional>
#include <string>

#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/service.pb.h"
#include "engine/storage/batch_reader.h"

namespace headgate::engine {

class Dispatcher;
class RuleEvaluator;

struct CheckLimits {
  BatchLimits batch;
  // Sub-problems and operators of a request, which hold about half a kilobyte each.
  size_t nodes_max = 100'000;
  // How deep Expand and LookupSubject go, whose requests name no depth or do not mean it.
  int depth_max = 10'000;
  // A request that takes longer fails with DEADLINE_EXCEEDED.
  Duration time_max{20'000};
};

using Arguments = google::protobuf::RepeatedPtrField<base::v1::Argument>;

// Borrowed: it lives as long as the request is worked on.
struct Scope {
  std::string tenant;
  SnapToken at;
  const base::v1::SchemaDefinition* schema = nullptr;
  std::string version;  // of the schema
  const base::v1::Context* context = nullptr;
  const Arguments* arguments = nullptr;  // for a rule that is asked for by its name; may be null
  CheckLimits limits;
  BatchReader* reader = nullptr;
  const RuleEvaluator* rules = nullptr;
  Dispatcher* dispatcher = nullptr;  // may be null
  // What the caller has made of its call meanwhile; asked between two round trips.
  std::function<Status()> wanted;
  MonotonicTime end = MonotonicTime::max();  // statements are broken off then

  // CANCELLED and DEADLINE_EXCEEDED.
  Status still_wanted() const;
  // For the next statement.
  BatchLimits batch_limits() const;
};

}  // namespace headgate::engine
