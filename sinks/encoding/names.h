// Injective encoding of tenant and entity names into the alphabets of topics, subjects and keys.
//
// Every byte outside the target's plain alphabet becomes the escape character and two upper-case hex digits; the escape
// character itself is never plain. So any byte string has exactly one encoding, and decoding gives it back.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate::sinks {

enum class NameTarget {
  kRaw,    // no encoding (record keys)
  kKafka,  // plain: letters, digits, '-'; escape '_'. No '.', so two names differ in Kafka's metrics as well
  kNats,   // plain: letters, digits, _ - @ : + ; escape '%'
  kRedis,  // plain: letters, digits, _ - @ . + ; escape '%'. No ':' and no braces
};

// The empty name has an encoding of its own, because an empty token is illegal in most targets.
std::string encode_name(NameTarget target, std::string_view name);
// INVALID_ARGUMENT for text that encode_name() never returns.
StatusOr<std::string> decode_name(NameTarget target, std::string_view text);

// True when `c` may stand unescaped inside an encoded name, or is the escape character.
bool is_name_character(NameTarget target, char c);

// Percent-encoding of a header value for NATS: blanks, quotes, '%' and everything outside printable ASCII.
std::string encode_header_value(std::string_view value);
void append_header_value(std::string& out, std::string_view value);
std::string decode_header_value(std::string_view text);

}  // namespace headgate::sinks
