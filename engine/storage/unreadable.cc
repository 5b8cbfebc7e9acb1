#include "engine/storage/unreadable.h"

#include <absl/strings/escaping.h>

#include "engine/schema/source.h"

namespace headgate::engine {

namespace {

constexpr size_t kShownMax = 128;

}  // namespace

std::string UnreadableRows::text() const {
  std::string all = fmt::format("{}", fmt::join(texts, "; "));
  if (rows > texts.size()) all += fmt::format("; and {} more", rows - texts.size());
  return all;
}

bool is_text(std::string_view text) { return find_unreadable(text) == std::string_view::npos; }

bool is_tenant_name(std::string_view name) { return !name.empty() && is_text(name); }

std::string shown(std::string_view name) {
  std::string all = absl::CHexEscape(absl::string_view(name.data(), std::min(name.size(), kShownMax)));
  return name.size() > kShownMax ? all + "…" : all;
}

std::string unreadable_attribute(uint64_t row, std::string_view type, std::string_view id, std::string_view attribute,
                                 const Status& why) {
  return fmt::format("row {} of attributes ({}:{}${}): {}", row, shown(type), shown(id), shown(attribute),
                     message_of(why));
}

}  // namespace headgate::engine
