// The text that names a point in a tenant's history. Clients treat it as opaque.
//
// Standard base64 with padding over one of two payloads, both shared with Permify:
//   legacy    8 bytes, the xid as little-endian unsigned 64-bit number
//   snapshot  "<xid>:<pg_snapshot>", pg_snapshot = "xmin:xmax:xip,xip..."
// A position H (the state "every committed transaction with xid < H") is the snapshot form "<H-1>:H:H:".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace headgate {

// What pg_current_snapshot() returned: xids below xmin have ended, xids from xmax on had not begun.
struct PgSnapshot {
  uint64_t xmin = 0;
  uint64_t xmax = 0;
  std::vector<uint64_t> in_progress;  // ascending, within [xmin, xmax)

  bool operator==(const PgSnapshot&) const = default;
};

// INVALID_ARGUMENT for text that Postgres would not take as pg_snapshot.
StatusOr<PgSnapshot> parse_pg_snapshot(std::string_view text);
std::string format_pg_snapshot(const PgSnapshot& snapshot);

struct SnapToken {
  enum class Form { kLegacy, kSnapshot };

  Form form = Form::kLegacy;
  uint64_t xid = 0;
  PgSnapshot snapshot;  // only for kSnapshot

  bool operator==(const SnapToken&) const = default;

  // True for "<H-1>:H:H:": a position that need not be a transaction of any tenant.
  bool is_position() const {
    return form == Form::kSnapshot && snapshot.in_progress.empty() && snapshot.xmin == snapshot.xmax &&
           snapshot.xmax == xid + 1;
  }
};

// INVALID_ARGUMENT, with a text that says what is wrong, for anything else than the two forms.
StatusOr<SnapToken> decode_snap_token(std::string_view text);
std::string encode_snap_token(const SnapToken& token);

std::string encode_legacy_token(uint64_t xid);
// Token of the state "xid < position". REQUIRES: position > 0.
std::string encode_position_token(uint64_t position);

// The token of a write: `raw` is the snapshot of transaction `xid` itself. Its own xid and every xid between the old
// xmax and it are listed as in progress, so the token means one state for ever: transactions that began meanwhile
// never turn visible later.
SnapToken token_of_write(uint64_t xid, const PgSnapshot& raw);

}  // namespace headgate
