// Filters and pages of reads and deletions, as they become statements. The first line is "tuple" or "attribute", then
// the size of a page, its token, and a snap token; the rest is the filter as JSON.
#include <google/protobuf/util/json_util.h>

#include "engine/storage/row_pages.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

constexpr char kMark = '\x01';  // in front of and behind what is quoted

// Outside of literals there is nothing but our own text.
void demand_plain_sql(const std::string& sql) {
  bool inside = false;
  int depth = 0;
  for (const char c : sql) {
    if (c == kMark) inside = !inside;
    if (inside || c == kMark) continue;
    demand(static_cast<unsigned char>(c) < 0x80 && c != ';' && c != '\0' && c != '\\', "{} gets into {}", c, sql);
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    demand(depth >= 0, "a bracket too many: {}", sql);
  }
  demand(!inside && depth == 0, "something is left open: {}", sql);
}

template <typename Filter>
void try_filter(const std::string& json, uint64_t rows, int64_t first, const SnapToken& at) {
  Filter filter;
  if (!google::protobuf::util::JsonStringToMessage(json, &filter).ok()) return;
  const engine::Quote quote = [](const std::string& text) {
    std::string hidden(1, kMark);
    for (const char c : text) hidden += c == kMark ? '?' : c;
    return hidden + kMark;
  };
  const std::vector<engine::RowStep> steps = engine::steps_of(quote, filter, {"tenant", at, first, rows, "id"});
  demand(!steps.empty(), "a filter without a way to read it");
  size_t bytes = 0;
  for (const engine::RowStep& step : steps) {
    demand_plain_sql(step.sql);
    demand_plain_sql(step.given);
    bytes += step.sql.size() + step.given.size();
  }
  const std::string ids = engine::active_ids(quote, "tenant", filter);
  demand_plain_sql(ids);
  // A filter is written down a few times, its array with escapes, and nothing is multiplied.
  demand(bytes + ids.size() <= 200'000 + 64 * (json.size() + engine::visible_at(at).size()),
         "{} bytes of statements for a filter of {}", bytes + ids.size(), json.size());
}

}  // namespace

void filters_target(std::string_view input) {
  Input parts(input);
  const bool attribute = parts.line() == "attribute";
  const uint64_t size = parts.number();
  const std::string page_token(parts.line());
  const auto at = decode_snap_token(std::string(parts.line()));
  const uint64_t rows = engine::rows_for_page({static_cast<uint32_t>(size), page_token});
  demand(rows >= 1 && rows <= 1'000'001, "{} rows of a page", rows);
  const auto first = engine::decode_row_token(page_token);
  if (!at.ok() || !is_utf8(parts.rest())) return;
  const std::string json(parts.rest());
  if (attribute) {
    try_filter<base::v1::AttributeFilter>(json, rows, first.ok() ? *first : 0, *at);
  } else {
    try_filter<base::v1::TupleFilter>(json, rows, first.ok() ? *first : 0, *at);
  }
}

}  // namespace headgate::fuzz
