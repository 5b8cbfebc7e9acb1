#include "engine/storage/sql.h"

#include <absl/strings/escaping.h>

#include <charconv>

#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/schema/source.h"

namespace headgate::engine {

namespace {

constexpr uint64_t kPageMax = 100'000;

// The token in one shape for all forms: visible are the xids below `end` that are not in `holes` (ascending).
struct State {
  uint64_t end = 0;
  std::vector<uint64_t> holes;
};

State state_of(const SnapToken& token) {
  if (token.form == SnapToken::Form::kLegacy) return {token.xid + 1, {}};
  // Tokens of Permify may lack the hole between the snapshot and the transaction itself.
  const PgSnapshot snapshot =
      token.xid < token.snapshot.xmax ? token.snapshot : token_of_write(token.xid, token.snapshot).snapshot;
  State state{snapshot.xmax, snapshot.in_progress};
  std::erase(state.holes, token.xid);
  return state;
}

}  // namespace

Status client_error(const Status& status, base::v1::ErrorCode otherwise) {
  if (status.ok() || status.code() == StatusCode::kOutOfRange) return status;
  const bool of_database = message_of(status).rfind("SQLSTATE", 0) == 0;
  if (status.code() == StatusCode::kResourceExhausted && !of_database) return status;
  if (message_of(status).rfind("ERROR_CODE_", 0) == 0) return status;
  if (status.code() == StatusCode::kAborted) return api_error(base::v1::ERROR_CODE_SERIALIZATION);
  log_warn("database_error", {{"answer", base::v1::ErrorCode_Name(otherwise)}, {"reason", describe(status)}});
  return api_error(otherwise);
}

std::string encode_page_token(std::string_view key) {
  return absl::Base64Escape(absl::string_view(key.data(), key.size()));
}

StatusOr<std::string> decode_page_token(const std::string& token) {
  std::string key;
  // What is no text, the database would refuse with an error of its own, or read only up to a zero byte.
  if (token.size() % 4 != 0 || !absl::Base64Unescape(token, &key) || find_unreadable(key) != std::string::npos) {
    return api_error(base::v1::ERROR_CODE_INVALID_CONTINUOUS_TOKEN);
  }
  return key;
}

StatusOr<int64_t> decode_row_token(const std::string& token) {
  if (token.empty()) return 0;
  HG_ASSIGN_OR_RETURN(const std::string key, decode_page_token(token));
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size()) {
    return api_error(base::v1::ERROR_CODE_INVALID_CONTINUOUS_TOKEN);
  }
  if (id > INT32_MAX) return api_error(base::v1::ERROR_CODE_EXECUTION);
  return static_cast<int64_t>(id);
}

uint64_t rows_for_page(const PageRequest& page) { return std::min<uint64_t>(page.size, kPageMax) + 1; }

std::string visible_at(const SnapToken& token) {
  const State state = state_of(token);
  if (state.holes.empty()) {
    return fmt::format("created_tx_id < '{0}'::xid8 AND expired_tx_id >= '{0}'::xid8", state.end);
  }
  return fmt::format(
      "created_tx_id < '{0}'::xid8 AND created_tx_id <> ALL('{{{1}}}'::xid8[]) AND "
      "(expired_tx_id >= '{0}'::xid8 OR expired_tx_id = ANY('{{{1}}}'::xid8[]))",
      state.end, fmt::join(state.holes, ","));
}

std::string visible_within(const SnapToken& token) {
  return fmt::format("created_tx_id < '{}'::xid8 AND expired_tx_id >= '{}'::xid8", end_of(token),
                     lowest_invisible(token));
}

uint64_t lowest_invisible(const SnapToken& token) {
  const State state = state_of(token);
  return state.holes.empty() ? state.end : state.holes.front();
}

uint64_t end_of(const SnapToken& token) { return state_of(token).end; }

std::vector<uint64_t> holes_of(const SnapToken& token) { return state_of(token).holes; }

uint64_t to_xid(const pqxx::field& field) { return field.is_null() ? 0 : std::stoull(field.c_str()); }

}  // namespace headgate::engine
