#include "engine/storage/json_size.h"

#include <string_view>

namespace headgate::engine {

namespace {

// Names of fields, operation, braces and the comma: 129 bytes of a tuple with all fields.
constexpr size_t kAround = 160;
// Whatever JSON escapes has at most six bytes for one: \u0001, and for characters of several bytes less.
constexpr size_t kEscaped = 6;

size_t of_text(std::string_view text) {
  size_t bytes = 0;
  for (const char c : text) {
    const bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '<' && c != '>';
    bytes += plain ? 1 : kEscaped;
  }
  return bytes;
}

// Of a list of texts each byte of the message counts as of a text: tag and length of an element make up for quotes and
// comma. Numbers and truth values have at most six bytes of JSON for one of the message, and nine around a lone one.
size_t of_value(const google::protobuf::Any& value) {
  const bool of_texts = value.type_url().find("String") != std::string::npos;
  const size_t data = of_texts ? of_text(value.value()) : value.value().size() * kEscaped + kAround;
  return of_text(value.type_url()) + data;
}

}  // namespace

size_t json_bytes_at_most(const base::v1::DataChange& change) {
  if (change.has_tuple()) {
    const base::v1::Tuple& tuple = change.tuple();
    return kAround + of_text(tuple.entity().type()) + of_text(tuple.entity().id()) + of_text(tuple.relation()) +
           of_text(tuple.subject().type()) + of_text(tuple.subject().id()) + of_text(tuple.subject().relation());
  }
  const base::v1::Attribute& attribute = change.attribute();
  return kAround + of_text(attribute.entity().type()) + of_text(attribute.entity().id()) +
         of_text(attribute.attribute()) + of_value(attribute.value());
}

}  // namespace headgate::engine
