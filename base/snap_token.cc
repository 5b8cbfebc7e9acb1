#include "base/snap_token.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace headgate {

namespace {

// Between a snapshot and the xid that is assigned behind it, other transactions begin; never more than these.
constexpr uint64_t kGapMax = 10'000;

bool parse_u64(std::string_view text, uint64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}  // namespace

StatusOr<PgSnapshot> parse_pg_snapshot(std::string_view text) {
  PgSnapshot snapshot;
  const size_t first = text.find(':');
  const size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (second == std::string_view::npos || !parse_u64(text.substr(0, first), &snapshot.xmin) ||
      !parse_u64(text.substr(first + 1, second - first - 1), &snapshot.xmax) || snapshot.xmin == 0 ||
      snapshot.xmax < snapshot.xmin) {
    return invalid_argument("malformed snap token: its snapshot is not of the form xmin:xmax:xip,...");
  }
  std::string_view rest = text.substr(second + 1);
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    uint64_t xid = 0;
    const bool well_formed = parse_u64(rest.substr(0, comma), &xid) && xid >= snapshot.xmin && xid < snapshot.xmax &&
                             (snapshot.in_progress.empty() || snapshot.in_progress.back() <= xid);
    if (!well_formed) {
      return invalid_argument(
          "malformed snap token: its list of transactions in progress is not ascending within xmin:xmax");
    }
    if (snapshot.in_progress.empty() || snapshot.in_progress.back() != xid) snapshot.in_progress.push_back(xid);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) return invalid_argument("malformed snap token: it ends with a comma");
  }
  return snapshot;
}

std::string format_pg_snapshot(const PgSnapshot& snapshot) {
  std::string text = fmt::format("{}:{}:", snapshot.xmin, snapshot.xmax);
  for (size_t i = 0; i < snapshot.in_progress.size(); ++i) {
    if (i > 0) text += ',';
    text += fmt::format_int(snapshot.in_progress[i]).str();
  }
  return text;
}

StatusOr<SnapToken> decode_snap_token(std::string_view text) {
  std::string payload;
  if (text.size() % 4 != 0 || !absl::Base64Unescape(absl::string_view(text.data(), text.size()), &payload) ||
      payload.empty()) {
    return invalid_argument("malformed snap token: not padded standard base64");
  }
  SnapToken token;
  if (payload.size() == 8) {
    for (int i = 7; i >= 0; --i) token.xid = (token.xid << 8) | static_cast<unsigned char>(payload[i]);
    return token;
  }
  const size_t colon = payload.find(':');
  if (colon == std::string::npos) {
    return invalid_argument("malformed snap token: neither 8 bytes nor <xid>:<snapshot>");
  }
  if (!parse_u64(std::string_view(payload).substr(0, colon), &token.xid)) {
    return invalid_argument("malformed snap token: its xid is not a number");
  }
  // Permify reads an empty remainder as the legacy form.
  if (colon + 1 == payload.size()) return token;
  token.form = SnapToken::Form::kSnapshot;
  HG_ASSIGN_OR_RETURN(token.snapshot, parse_pg_snapshot(std::string_view(payload).substr(colon + 1)));
  // Readers list the transactions of the gap one by one, so its width is not the client's to choose.
  const uint64_t xmax = token.snapshot.xmax;
  if (token.xid == UINT64_MAX || (token.xid > xmax && token.xid - xmax > kGapMax)) {
    return invalid_argument("malformed snap token: its xid is too far from its snapshot");
  }
  return token;
}

std::string encode_snap_token(const SnapToken& token) {
  if (token.form == SnapToken::Form::kLegacy) return encode_legacy_token(token.xid);
  const std::string payload = fmt::format("{}:{}", token.xid, format_pg_snapshot(token.snapshot));
  return absl::Base64Escape(payload);
}

std::string encode_legacy_token(uint64_t xid) {
  char bytes[8];
  for (char& byte : bytes) {
    byte = static_cast<char>(xid & 0xff);
    xid >>= 8;
  }
  return absl::Base64Escape(absl::string_view(bytes, sizeof bytes));
}

std::string encode_position_token(uint64_t position) {
  HG_CHECK(position > 0);
  return encode_snap_token({SnapToken::Form::kSnapshot, position - 1, {position, position, {}}});
}

SnapToken token_of_write(uint64_t xid, const PgSnapshot& raw) {
  SnapToken token{SnapToken::Form::kSnapshot, xid, raw};
  PgSnapshot& snapshot = token.snapshot;
  std::vector<uint64_t>& list = snapshot.in_progress;
  for (uint64_t hole = std::max<uint64_t>(raw.xmax, 1); hole <= xid; ++hole) list.push_back(hole);
  const auto at = std::lower_bound(list.begin(), list.end(), xid);
  if (at == list.end() || *at != xid) list.insert(at, xid);
  snapshot.xmax = std::max(snapshot.xmax, xid + 1);
  snapshot.xmin = std::min(snapshot.xmin, xid);
  return token;
}

}  // namespace headgate
