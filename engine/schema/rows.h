// Stored rows as a tree, ours or Permify's.
#pragma once

#include <deque>
#include <vector>

#include "base/status.h"
#include "base/v1/base.pb.h"
#include "engine/model/schema_row.h"
#include "engine/schema/tree.h"

namespace headgate::engine {

// Keeps the sources its tree points into; the rows outlive it. INTERNAL when the rows hold no schema.
class StoredSchema {
 public:
  static StatusOr<StoredSchema> parse(const std::vector<SchemaRow>& rows);
  static StatusOr<StoredSchema> parse(std::vector<SchemaRow>&& rows) = delete;

  StatusOr<base::v1::SchemaDefinition> compile() const;

  Schema& tree() { return tree_; }

 private:
  std::deque<Source> sources_;  // addresses stay when it moves
  Schema tree_;
};

}  // namespace headgate::engine
