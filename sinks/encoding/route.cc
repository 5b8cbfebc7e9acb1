#include "sinks/encoding/route.h"

namespace headgate::sinks {
namespace {

struct Limit {
  size_t bytes;
  std::string_view what;
};

Limit limit_of(NameTarget target) {
  switch (target) {
    case NameTarget::kKafka: return {249, "a Kafka topic"};
    case NameTarget::kNats: return {1024, "a NATS subject"};
    case NameTarget::kRedis: return {4096, "a Redis key"};
    case NameTarget::kRaw: break;
  }
  return {65536, "a key"};
}

// What may stand literally in a template, beside what encoded names use.
bool is_literal(NameTarget target, char c) {
  if (is_name_character(target, c)) return true;
  switch (target) {
    case NameTarget::kRaw: return true;
    case NameTarget::kKafka: return c == '.';
    case NameTarget::kNats: return c > ' ' && c < 0x7f && c != '*' && c != '>';
    case NameTarget::kRedis: return c > ' ' && c < 0x7f;
  }
  return false;
}

bool separates(NameTarget target, std::string_view literal) {
  for (const char c : literal) {
    if (!is_name_character(target, c)) return true;
  }
  return target == NameTarget::kRaw && !literal.empty();
}

}  // namespace

StatusOr<Route> Route::parse(NameTarget target, std::string_view text, std::string_view prefix) {
  Route route;
  route.target_ = target;
  std::string literal;
  const auto add = [&](Piece::Kind kind) {
    if (!literal.empty()) route.pieces_.push_back({Piece::kLiteral, std::move(literal)});
    literal.clear();
    if (kind != Piece::kLiteral) route.pieces_.push_back({kind, {}});
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
    if ((text[i] == '{' || text[i] == '}') && doubled) {
      literal += text[i++];
      continue;
    }
    if (text[i] == '}') return invalid_argument("template '{}': '}}' without '{{' (write '}}}}' for a brace)", text);
    if (text[i] != '{') {
      literal += text[i];
      continue;
    }
    const size_t end = text.find('}', i);
    if (end == std::string_view::npos) return invalid_argument("template '{}': '{{' without '}}'", text);
    const std::string_view word = text.substr(i + 1, end - i - 1);
    if (word == "tenant") {
      add(Piece::kTenant);
    } else if (word == "prefix") {
      literal += prefix;
    } else if (word == "entity_type") {
      return invalid_argument(
          "template '{}': {{entity_type}} is not offered, since one transaction may change several types and a gap "
          "concerns all; subscribers choose by the attribute entitytypes",
          text);
    } else {
      return invalid_argument("template '{}': unknown placeholder '{{{}}}'; there are tenant and prefix", text, word);
    }
    i = end;
  }
  add(Piece::kLiteral);
  HG_RETURN_IF_ERROR(route.check());
  for (const Piece& piece : route.pieces_) {
    route.needs_tenant_ |= piece.kind == Piece::kTenant;
  }
  return route;
}

Status Route::check() const {
  if (pieces_.empty()) return invalid_argument("the template of {} is empty", limit_of(target_).what);
  size_t literal_bytes = 0;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    literal_bytes += piece.text.size();
    for (const char c : piece.text) {
      if (!is_literal(target_, c)) {
        return invalid_argument("template: byte 0x{:02x} is not allowed in {}", static_cast<unsigned char>(c),
                                limit_of(target_).what);
      }
    }
    const bool name = piece.kind != Piece::kLiteral;
    if (name && i > 0 && pieces_[i - 1].kind != Piece::kLiteral) {
      return invalid_argument("template: two placeholders need a separator between them");
    }
    if (name && i > 1 && !separates(target_, pieces_[i - 1].text)) {
      return invalid_argument("template: '{}' does not separate two names, because names may contain it too; use '{}'",
                              pieces_[i - 1].text, target_ == NameTarget::kRedis ? ':' : '.');
    }
  }
  if (literal_bytes > limit_of(target_).bytes) {
    return invalid_argument("template: {} has at most {} bytes", limit_of(target_).what, limit_of(target_).bytes);
  }
  if (target_ == NameTarget::kNats) {
    std::string example;
    for (const Piece& piece : pieces_) example += piece.kind == Piece::kLiteral ? piece.text : "x";
    if (example.front() == '.' || example.back() == '.' || example.find("..") != std::string::npos) {
      return invalid_argument("template: a NATS subject has no empty words, as in '{}'", example);
    }
  }
  if (target_ == NameTarget::kKafka && pieces_.size() == 1 && (pieces_[0].text == "." || pieces_[0].text == "..")) {
    return invalid_argument("'{}' is not a Kafka topic", pieces_[0].text);
  }
  return ok_status();
}

StatusOr<std::string> Route::render_tenant(std::string_view tenant) const {
  std::string out;
  for (const Piece& piece : pieces_) {
    out += piece.kind == Piece::kLiteral ? piece.text : encode_name(target_, tenant);
  }
  const Limit limit = limit_of(target_);
  if (out.size() > limit.bytes) {
    return invalid_argument(
        "tenant '{}': the name has {} bytes, {} has at most {}; shorten the template or the tenant id", tenant,
        out.size(), limit.what, limit.bytes);
  }
  return out;
}

std::optional<std::string> Route::tenant_of(std::string_view text) const {
  std::string_view name;
  if (needs_tenant_) {
    const std::string_view start = literal_start();
    if (text.substr(0, start.size()) != start) return std::nullopt;
    name = text.substr(start.size());
    // Up to what stands behind the first name: the rest of the text, or what no name contains.
    const size_t first = pieces_[0].kind == Piece::kLiteral ? 1 : 0;
    if (pieces_.size() == first + 2 && name.size() > pieces_.back().text.size()) {
      name.remove_suffix(pieces_.back().text.size());
    } else if (pieces_.size() > first + 2) {
      size_t end = 0;
      while (end < name.size() && is_name_character(target_, name[end])) ++end;
      name = name.substr(0, end);
    }
  }
  auto tenant = decode_name(target_, needs_tenant_ ? name : encode_name(target_, ""));
  if (!tenant.ok()) return std::nullopt;
  const auto again = render_tenant(*tenant);
  return again.ok() && *again == text ? std::optional(*std::move(tenant)) : std::nullopt;
}

StatusOr<HeartbeatRoutes> HeartbeatRoutes::parse(NameTarget target, std::string_view text, std::string_view prefix,
                                                 const Route& events) {
  const char separator = target == NameTarget::kRedis ? ':' : '.';
  HeartbeatRoutes routes;
  HG_ASSIGN_OR_RETURN(routes.all_, Route::parse(target, fmt::format("{}{}sink", text, separator), prefix));
  HG_ASSIGN_OR_RETURN(routes.one_,
                      Route::parse(target, fmt::format("{0}{1}tenant{1}{{tenant}}", text, separator), prefix));
  if (routes.all_.needs_tenant()) {
    return invalid_argument("heartbeats: '{}' may not name {{tenant}}; it is added where it is wanted", text);
  }
  for (const std::string_view tenant : {"", "x"}) {
    HG_ASSIGN_OR_RETURN(const std::string place, routes.render(tenant));
    if (events.tenant_of(place)) {
      return invalid_argument("heartbeats: '{}' is a place of events as well; choose another start than '{}'", place,
                              text);
    }
  }
  return routes;
}

}  // namespace headgate::sinks
