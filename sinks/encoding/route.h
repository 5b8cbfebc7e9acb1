// Templates for topics, keys, subjects, streams and channels: "headgate.changes.{tenant}".
//
// Placeholders: {tenant} and {prefix}. "{{" and "}}" are literal braces. The tenant is put in with the injective
// encoding of the target, the prefix as it is. {entity_type} is refused: a transaction may change entities of several
// types, and a gap concerns all of them (ops/decisions/0008-no-routes-by-entity-type.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "sinks/encoding/names.h"

namespace headgate::sinks {

// Immutable; thread-safe.
class Route {
 public:
  // INVALID_ARGUMENT says what is wrong with the template.
  static StatusOr<Route> parse(NameTarget target, std::string_view text, std::string_view prefix);

  // INVALID_ARGUMENT when the result would be longer than the target allows.
  StatusOr<std::string> render_tenant(std::string_view tenant) const;
  // The tenant that render_tenant() makes `text` of; nothing when there is none. Empty for a route without {tenant}.
  std::optional<std::string> tenant_of(std::string_view text) const;

  // What stands before the first name; the whole text when there is none.
  std::string_view literal_start() const {
    return pieces_[0].kind == Piece::kLiteral ? std::string_view(pieces_[0].text) : std::string_view();
  }

  bool needs_tenant() const { return needs_tenant_; }

 private:
  struct Piece {
    enum Kind { kLiteral, kTenant } kind;
    std::string text;
  };

  Status check() const;

  NameTarget target_ = NameTarget::kRaw;
  std::vector<Piece> pieces_;
  bool needs_tenant_ = false;
};

// Where heartbeats go: "<template>.sink" those for all tenants, "<template>.tenant.<name>" those for one.
class HeartbeatRoutes {
 public:
  // INVALID_ARGUMENT also when a tenant's events could go to the same place.
  static StatusOr<HeartbeatRoutes> parse(NameTarget target, std::string_view text, std::string_view prefix,
                                         const Route& events);

  // `tenant` is empty for all.
  StatusOr<std::string> render(std::string_view tenant) const {
    return tenant.empty() ? all_.render_tenant("") : one_.render_tenant(tenant);
  }

 private:
  Route all_;
  Route one_;
};

}  // namespace headgate::sinks
