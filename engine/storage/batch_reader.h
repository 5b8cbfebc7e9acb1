// Many small reads of one state in one statement: all that a level of a check wants to know.
//
// Each read costs what it gives, whatever else the tenant, the entity or the subject has: a tuple is looked up, and of
// a relation with a million members the sets of subjects are found without walking over the members. Blocks on a
// connection of the pool; thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/base.pb.h"
#include "engine/storage/pool.h"

namespace headgate::engine {

struct RelationKey {
  std::string entity_type, entity_id, relation;
};
struct TupleKey {
  RelationKey of;
  std::string subject_type, subject_id, subject_relation;
};
struct AttributeKey {
  std::string entity_type, entity_id, attribute;
};
// From a subject back to the entities of one type that have it in one relation.
struct BackwardKey {
  std::string subject_type, subject_id, subject_relation, entity_type, relation;
  bool any_subject_relation = false;  // arrows do not look at it; `subject_relation` does not count then
};

struct BatchQuery {
  std::vector<TupleKey> tuples;          // is this very tuple there
  std::vector<RelationKey> usersets;     // the subjects with a relation of their own
  std::vector<RelationKey> subjects;     // all subjects
  std::vector<AttributeKey> attributes;  // the value, if there is one
  std::vector<BackwardKey> entities;     // ids

  bool empty() const {
    return tuples.empty() && usersets.empty() && subjects.empty() && attributes.empty() && entities.empty();
  }
};

// One answer for each question, in their order.
struct BatchAnswer {
  std::vector<bool> tuples;
  std::vector<std::vector<base::v1::Subject>> usersets;
  std::vector<std::vector<base::v1::Subject>> subjects;
  std::vector<std::optional<google::protobuf::Any>> attributes;
  std::vector<std::vector<std::string>> entities;
};

struct BatchLimits {
  size_t rows_max = 50'000;          // of one kind of question together
  size_t value_bytes_max = 8 << 20;  // of the attributes together, as stored
  Duration time_max{0};              // of the statement, 0: that of the session
};

// Which ids a type has.
struct KnownIds {
  std::string type;
  bool as_subject = false;       // of subjects with `subject_relation`; otherwise of entities
  std::string subject_relation;  // empty: any
};

class BatchReader {
 public:
  virtual ~BatchReader() = default;
  // OUT_OF_RANGE when the state cannot be had any more or not yet, UNAVAILABLE when a standby has not come to it,
  // RESOURCE_EXHAUSTED when the answer is larger than the limits, DEADLINE_EXCEEDED when it takes longer; SCAN and
  // EXECUTION as the other reads of clients.
  virtual StatusOr<BatchAnswer> read(const std::string& tenant, const SnapToken& at, const BatchQuery& query,
                                     const BatchLimits& limits) = 0;
  // Each once, in no order that means anything. The same errors.
  virtual StatusOr<std::vector<std::string>> known_ids(const std::string& tenant, const SnapToken& at,
                                                       const KnownIds& which, const BatchLimits& limits) = 0;
};

std::unique_ptr<BatchReader> make_batch_reader(std::shared_ptr<Pool> pool);

}  // namespace headgate::engine
