// Texts that the storage reads from clients or writes into statements: page tokens, schema versions, array literals,
// and the visibility condition of a snap token. The first line is the token, every line is an element of an array.
#include <absl/strings/escaping.h>

#include <charconv>

#include "engine/schema/source.h"
#include "engine/storage/schema_version.h"
#include "engine/storage/sql.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

void try_page_token(const std::string& text) {
  // Keys come out of the database, which holds readable texts alone.
  const bool readable = engine::find_unreadable(text) == std::string_view::npos;
  const auto key = engine::decode_page_token(engine::encode_page_token(text));
  demand(key.ok() == readable, "a page token for what is {}a text: {}", readable ? "" : "not ", text);
  demand(!readable || *key == text, "a page token does not give its key back: {}", text);
  const auto decoded = engine::decode_page_token(text);
  if (!decoded.ok()) return demand_refusal(decoded.status(), {StatusCode::kInvalidArgument});
  const auto again = engine::decode_page_token(engine::encode_page_token(*decoded));
  demand(again.ok() && *again == *decoded, "a page token changes: {}", text);
}

void try_row_token(const std::string& text) {
  const auto row = engine::decode_row_token(text);
  if (!row.ok()) return demand_refusal(row.status(), {StatusCode::kInvalidArgument, StatusCode::kInternal});
  demand(*row >= 0 && *row <= INT32_MAX, "row {} cannot be", *row);
  const auto again = engine::decode_row_token(engine::encode_page_token(std::to_string(*row)));
  demand(again.ok() && *again == *row, "row {} does not come back", *row);
}

void try_arrays(std::string_view input) {
  std::vector<std::string> items;
  for (Input lines(input); !lines.at_end();) items.emplace_back(lines.line());
  demand(read_array_literal(headgate::array_text(items)) == items, "{} is another array", headgate::array_text(items));
}

void try_visibility(const std::string& text) {
  const auto token = decode_snap_token(text);
  if (!token.ok()) return;
  const std::string condition = engine::visible_at(*token);
  // A token may leave a gap of 10,000 transactions to its snapshot, and the condition names each of them twice.
  demand(condition.size() < 500'000 + 50 * text.size(), "{} bytes of condition for a token of {}", condition.size(),
         text.size());
  demand(engine::lowest_invisible(*token) <= engine::end_of(*token), "the first invisible xid is behind the end");
}

}  // namespace

void storage_texts_target(std::string_view input) {
  const std::string token(Input(input).line());
  const std::string encoded = absl::Base64Escape(token);
  for (const std::string& text : {token, encoded}) {
    try_page_token(text);
    try_row_token(text);
    try_visibility(text);
  }
  try_arrays(input);
  const auto seconds = engine::seconds_of_schema_version(token);
  demand(!seconds || (*seconds >= 0 && *seconds <= UINT32_MAX), "a schema version of second {}", seconds.value_or(0));
}

}  // namespace headgate::fuzz
