// Templates for topics, keys, subjects, streams and channels: "headgate.changes.{tenant}".
//
// Placeholders: {tenant}, {entity_type}, {prefix}. "{{" and "}}" are literal braces. Names are put in with the
// injective encoding of the target, the prefix as it is. Two names must be separated by a character that no encoded
// name contains, so that different values never give the same text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "sinks/encoding/names.h"
#include "sinks/event.h"

namespace headgate::sinks {

// Immutable; thread-safe.
class Route {
 public:
  // INVALID_ARGUMENT says what is wrong with the template.
  static StatusOr<Route> parse(NameTarget target, std::string_view text, std::string_view prefix);

  // INVALID_ARGUMENT when the result would be longer than the target allows.
  StatusOr<std::string> render(const Event& event) const;
  // For routes that depend on the tenant alone. REQUIRES: !needs_entity_type().
  StatusOr<std::string> render_tenant(std::string_view tenant) const;

  // What stands before the first name; the whole text when there is none.
  std::string_view literal_start() const {
    return pieces_[0].kind == Piece::kLiteral ? std::string_view(pieces_[0].text) : std::string_view();
  }

  bool needs_entity_type() const { return needs_entity_type_; }
  bool needs_tenant() const { return needs_tenant_; }

 private:
  struct Piece {
    enum Kind { kLiteral, kTenant, kEntityType } kind;
    std::string text;
  };

  StatusOr<std::string> render(std::string_view tenant, const Event* event) const;
  Status check() const;

  NameTarget target_ = NameTarget::kRaw;
  std::vector<Piece> pieces_;
  bool needs_entity_type_ = false;
  bool needs_tenant_ = false;
};

}  // namespace headgate::sinks
