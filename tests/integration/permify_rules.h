// Permify's own rules as plain SQL, so that a test can ask what Permify would make of the rows.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace headgate::testing {

// What a token makes of the rows: its xid and the text of its snapshot ("" for the legacy form, whose snapshot is the
// one stored with the transaction).
struct PermifyToken {
  uint64_t xid = 0;
  std::string snapshot;
};

// Reads a token as Permify does: eight bytes are a legacy one, else "<xid>:<snapshot>".
PermifyToken permify_token(const std::string& token);
// The snapshot form that Permify's writer returns for a transaction with this raw snapshot: the own xid is put among
// those in progress, and the bounds are widened to hold it. Base64.
std::string permify_write_token(uint64_t xid, const std::string& raw_snapshot);

class PermifyView {
 public:
  explicit PermifyView(std::string uri) : uri_(std::move(uri)) {}

  // The token of the newest transaction, in the form Permify hands out for reads without a token.
  std::string head(const std::string& tenant) const;
  // "doc:1#owner@user:alice", sorted.
  std::vector<std::string> tuples(const std::string& tenant, const std::string& token) const;
  // "doc:1$public {json}", sorted.
  std::vector<std::string> attributes(const std::string& tenant, const std::string& token) const;
  std::string head_schema_version(const std::string& tenant) const;

 private:
  std::vector<std::string> column(const std::string& sql) const;

  std::string uri_;
};

}  // namespace headgate::testing
