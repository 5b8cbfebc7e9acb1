// Names of topics, subjects and keys: the injective encoding and the templates that use it. Lines: the target (kafka,
// nats, redis, raw), a template, its prefix, then two tenants.
#include "sinks/encoding/names.h"
#include "sinks/encoding/route.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

using namespace sinks;

NameTarget target_of(std::string_view word) {
  if (word == "kafka") return NameTarget::kKafka;
  if (word == "nats") return NameTarget::kNats;
  return word == "redis" ? NameTarget::kRedis : NameTarget::kRaw;
}

void try_name(NameTarget target, std::string_view name) {
  const std::string encoded = encode_name(target, name);
  const auto decoded = decode_name(target, encoded);
  demand(decoded.ok() && *decoded == name, "a name does not come back from '{}'", encoded);
  demand(target == NameTarget::kRaw || !encoded.empty(), "an empty name");
  for (const char c : encoded) demand(is_name_character(target, c), "byte {} in '{}'", int{c}, encoded);
  const auto backwards = decode_name(target, name);
  demand(!backwards.ok() || encode_name(target, *backwards) == name, "two encodings of one name: '{}'", name);
}

void try_header(std::string_view value) {
  const std::string encoded = encode_header_value(value);
  demand(decode_header_value(encoded) == value, "a header does not come back from '{}'", encoded);
  for (const char c : encoded) demand(c > ' ' && c < 0x7f && c != '"', "byte {} in a header", int{c});
}

// What the servers take.
void demand_legal(NameTarget target, const std::string& text) {
  demand(!text.empty() || target == NameTarget::kRaw, "an empty name of a topic");
  const auto is_kafka = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (target == NameTarget::kKafka) {
    demand(text.size() <= 249 && text != "." && text != "..", "Kafka takes no topic '{}'", text);
    demand(std::all_of(text.begin(), text.end(), is_kafka), "Kafka takes no topic '{}'", text);
  } else if (target == NameTarget::kNats) {
    demand(text.find_first_of(" \t\r\n*>") == std::string::npos, "NATS takes no subject '{}'", text);
    demand(text.front() != '.' && text.back() != '.' && text.find("..") == std::string::npos,
           "NATS takes no subject with an empty word: '{}'", text);
  }
}

void try_route(NameTarget target, std::string_view text, std::string_view prefix, std::string_view a,
               std::string_view b) {
  const auto route = Route::parse(target, text, prefix);
  if (!route.ok()) return demand_refusal(route.status(), {StatusCode::kInvalidArgument});
  const auto first = route->render_tenant(a);
  const auto second = route->render_tenant(b);
  if (!first.ok() || !second.ok()) return;
  demand_legal(target, *first);
  demand(first->compare(0, route->literal_start().size(), route->literal_start()) == 0, "not the literal start");
  const bool tenants_count = route->needs_tenant() && a != b;
  // A raw key is the caller's own business: bytes of names stand in it as they are.
  if (target == NameTarget::kRaw) return;
  demand((*first != *second) == tenants_count, "'{}' for {} and {}", *first, a, b);
  const auto back = route->tenant_of(*first);
  demand(!back || !route->needs_tenant() || *back == a, "'{}' is said to be of {}, not of {}", *first, *back, a);
}

}  // namespace

void names_target(std::string_view input) {
  if (!is_utf8(input)) {
    for (const NameTarget target : {NameTarget::kKafka, NameTarget::kNats, NameTarget::kRedis}) try_name(target, input);
    return try_header(input);
  }
  Input lines(input);
  const NameTarget target = target_of(lines.line());
  const std::string_view text = lines.line();
  const std::string_view prefix = lines.line();
  const std::string_view a = lines.line();
  const std::string_view b = lines.line();
  for (const std::string_view name : {a, b}) {
    try_name(target, name);
    try_header(name);
  }
  try_route(target, text, prefix, a, b);
}

}  // namespace headgate::fuzz
