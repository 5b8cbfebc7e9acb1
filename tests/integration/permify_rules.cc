#include "tests/integration/permify_rules.h"

#include <fmt/format.h>

#include <absl/strings/escaping.h>

#include <algorithm>
#include <cstring>
#include <pqxx/pqxx>
#include <set>
#include <sstream>
#include <stdexcept>

namespace headgate::testing {
namespace {

constexpr const char* kNever = "'9223372036854775807'::xid8";

std::string decode(const std::string& token) {
  std::string bytes;
  if (!absl::Base64Unescape(token, &bytes)) throw std::runtime_error("not base64: " + token);
  return bytes;
}

// (visible(created) or created = X) and (not visible(expired) or expired is the mark of a living row) and expired <> X.
std::string visible(const PermifyToken& token) {
  const std::string xid = fmt::format("'{}'::xid8", token.xid);
  const std::string snapshot = token.snapshot.empty()
                                   ? fmt::format("(SELECT snapshot FROM transactions WHERE id = {})", xid)
                                   : fmt::format("'{}'::pg_snapshot", token.snapshot);
  return fmt::format(
      "(pg_visible_in_snapshot(created_tx_id, {0}) OR created_tx_id = {1}) AND "
      "(NOT pg_visible_in_snapshot(expired_tx_id, {0}) OR expired_tx_id = {2}) AND expired_tx_id <> {1}",
      snapshot, xid, kNever);
}

}  // namespace

PermifyToken permify_token(const std::string& token) {
  const std::string bytes = decode(token);
  if (bytes.size() == 8) {
    PermifyToken legacy;
    std::memcpy(&legacy.xid, bytes.data(), sizeof legacy.xid);
    return legacy;
  }
  const size_t colon = bytes.find(':');
  if (colon == std::string::npos) throw std::runtime_error("no token of Permify: " + bytes);
  return {std::stoull(bytes.substr(0, colon)), bytes.substr(colon + 1)};
}

std::string permify_write_token(uint64_t xid, const std::string& raw_snapshot) {
  std::istringstream in(raw_snapshot);
  uint64_t xmin = 0, xmax = 0;
  char colon = 0;
  in >> xmin >> colon >> xmax >> colon;
  std::set<uint64_t> in_progress{xid};
  for (std::string word; std::getline(in, word, ',');) in_progress.insert(std::stoull(word));
  const std::string text =
      fmt::format("{}:{}:{}:{}", xid, std::min(xmin, xid), std::max(xmax, xid + 1), fmt::join(in_progress, ","));
  return std::string(absl::Base64Escape(text));
}

std::vector<std::string> PermifyView::column(const std::string& sql) const {
  pqxx::connection connection(uri_);
  pqxx::nontransaction work(connection);
  std::vector<std::string> texts;
  for (const pqxx::row& row : work.exec(sql)) texts.emplace_back(row[0].c_str());
  std::sort(texts.begin(), texts.end());
  return texts;
}

std::string PermifyView::head(const std::string& tenant) const {
  pqxx::connection connection(uri_);
  pqxx::nontransaction work(connection);
  const pqxx::result rows = work.exec("SELECT id::text, snapshot::text FROM transactions WHERE tenant_id = '" + tenant +
                                      "' ORDER BY id DESC LIMIT 1");
  if (rows.empty()) throw std::runtime_error("no transaction of " + tenant);
  return permify_write_token(std::stoull(rows[0][0].c_str()), rows[0][1].c_str());
}

std::vector<std::string> PermifyView::tuples(const std::string& tenant, const std::string& token) const {
  return column(
      "SELECT entity_type || ':' || entity_id || '#' || relation || '@' || subject_type || ':' || subject_id ||"
      " CASE subject_relation WHEN '' THEN '' ELSE '#' || subject_relation END FROM relation_tuples WHERE tenant_id = "
      "'" +
      tenant + "' AND " + visible(permify_token(token)));
}

std::vector<std::string> PermifyView::attributes(const std::string& tenant, const std::string& token) const {
  return column(
      "SELECT entity_type || ':' || entity_id || '$' || attribute || ' ' || value::text FROM attributes"
      " WHERE tenant_id = '" +
      tenant + "' AND " + visible(permify_token(token)));
}

std::string PermifyView::head_schema_version(const std::string& tenant) const {
  return column("SELECT max(version) FROM schema_definitions WHERE tenant_id = '" + tenant + "'").at(0);
}

}  // namespace headgate::testing
