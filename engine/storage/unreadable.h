// Stored rows that are no values: somebody wrote them by hand, or a disk changed them. They concern their own tenant
// and its transaction, never anybody else, and are told with their place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace headgate::engine {

// What of a transaction cannot be told. Texts for people; each names its row.
struct UnreadableRows {
  static constexpr size_t kTextsMax = 20;

  std::vector<std::string> texts;  // of the first rows
  size_t rows = 0;

  void add(std::string text) {
    if (++rows <= kTextsMax) texts.push_back(std::move(text));
  }
  void add(UnreadableRows others) {
    for (std::string& one : others.texts) {
      if (texts.size() < kTextsMax) texts.push_back(std::move(one));
    }
    rows += others.rows;
  }
  // "row 7 of attributes (doc:1$note): …; and 3 more".
  std::string text() const;
};

// True for what messages can carry: UTF-8 without a zero byte.
bool is_text(std::string_view text);
// True for what can be the name of a tenant: text, and not empty.
bool is_tenant_name(std::string_view name);
// The name in a text for people, whatever its bytes are; long ones are cut.
std::string shown(std::string_view name);
// "row 7 of attributes (doc:1$note): it has no value". `why` is a status whose message is a clause about the row.
std::string unreadable_attribute(uint64_t row, std::string_view type, std::string_view id, std::string_view attribute,
                                 const Status& why);

}  // namespace headgate::engine

// A column of time as microseconds since the epoch, in SQL. 0 for what is no moment: NULL, infinity, or years that no
// calendar of a client knows. Without that one such row would make the statement fail, and everybody's with it.
#define HG_SQL_MICROS(column)                                                                            \
  "CASE WHEN " column " >= '0001-01-01' AND " column " < '10000-01-01' THEN (extract(epoch FROM " column \
  ") * 1000000)::bigint ELSE 0 END"
