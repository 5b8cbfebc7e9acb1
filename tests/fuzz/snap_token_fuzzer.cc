// Snap tokens of clients: the text as it comes, and the input as what stands inside of the base64.
#include <absl/strings/escaping.h>

#include <charconv>

#include "base/snap_token.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

// PostgreSQL's input function of pg_snapshot takes what strtoull takes, so more than this; our texts must be a part of
// it, and must include everything its output function writes.
class PostgresReader {
 public:
  explicit PostgresReader(std::string_view text) : rest_(text) {}

  bool read(PgSnapshot& snapshot) {
    if (!number(snapshot.xmin) || !symbol(':') || !number(snapshot.xmax) || !symbol(':')) return false;
    if (snapshot.xmin == 0 || snapshot.xmax < snapshot.xmin) return false;
    uint64_t last = 0;
    while (!rest_.empty()) {
      uint64_t xid = 0;
      if (!number(xid) || xid < snapshot.xmin || xid >= snapshot.xmax || xid < last) return false;
      if (xid != last) snapshot.in_progress.push_back(xid);
      last = xid;
      if (!symbol(',') && !rest_.empty()) return false;
    }
    return true;
  }

 private:
  bool symbol(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool number(uint64_t& value) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return error == std::errc();
  }

  std::string_view rest_;
};

void try_snapshot(std::string_view text) {
  PgSnapshot theirs;
  const bool readable = PostgresReader(text).read(theirs);
  const auto ours = parse_pg_snapshot(text);
  if (ours.ok()) {
    demand(readable && theirs == *ours, "PostgreSQL would not take the snapshot {}", text);
    const auto again = parse_pg_snapshot(format_pg_snapshot(*ours));
    demand(again.ok() && *again == *ours, "the snapshot {} is printed as {}", text, format_pg_snapshot(*ours));
  } else {
    demand_refusal(ours.status(), {StatusCode::kInvalidArgument});
    demand(!readable || format_pg_snapshot(theirs) != text, "PostgreSQL writes the snapshot {}, and we refuse it",
           text);
  }
}

// Eight bytes are the legacy form, whatever they say; no database has xids so small that its snapshots are.
bool holds_eight_bytes(const std::string& token) { return token.size() == 12 && token[10] != '=' && token[11] == '='; }

void try_write(const SnapToken& token) {
  // The gap that a write's token fills with holes is as wide as the transactions that began during one statement.
  if (token.form != SnapToken::Form::kSnapshot || token.xid == UINT64_MAX) return;
  // A transaction is never older than its own snapshot.
  if (token.xid < token.snapshot.xmin) return;
  if (token.xid > token.snapshot.xmax && token.xid - token.snapshot.xmax > 10'000) return;
  const SnapToken written = token_of_write(token.xid, token.snapshot);
  const auto again = decode_snap_token(encode_snap_token(written));
  if (holds_eight_bytes(encode_snap_token(written))) return;
  demand(again.ok() && *again == written, "the token of a write cannot be read: {}", describe(again.status()));
  demand(token_of_write(written.xid, written.snapshot) == written, "filling the holes twice changes a token");
}

void try_token(std::string_view text) {
  const auto token = decode_snap_token(text);
  if (!token.ok()) return demand_refusal(token.status(), {StatusCode::kInvalidArgument});
  const std::string encoded = encode_snap_token(*token);
  if (token->form == SnapToken::Form::kSnapshot && holds_eight_bytes(encoded)) return;
  const auto again = decode_snap_token(encoded);
  demand(again.ok() && *again == *token, "decoded, encoded and decoded: {}", describe(again.status()));
  if (token->is_position()) {
    demand(encoded == encode_position_token(token->snapshot.xmin), "two texts of one position");
  }
  if (token->form == SnapToken::Form::kSnapshot) try_snapshot(format_pg_snapshot(token->snapshot));
  try_write(*token);
}

}  // namespace

void snap_token_target(std::string_view input) {
  try_token(input);
  try_token(absl::Base64Escape({input.data(), input.size()}));
  try_snapshot(input);
}

}  // namespace headgate::fuzz
