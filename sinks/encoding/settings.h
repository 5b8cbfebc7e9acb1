// How events become CloudEvents; the same for every kind of sink.
#pragma once

#include <cstdint>
#include <string>

namespace headgate::sinks {

enum class PayloadFormat {
  kProtobuf,   // headgate.v1.Event; of changes these are the bytes of the upstream
  kJson,       // the same as protobuf JSON with the field names of the .proto file
  kConfluent,  // protobuf behind Confluent's frame: byte 0, schema id, message index 0
};

struct EncodingSettings {
  std::string cluster = "default";  // in the source attribute: /headgate/<cluster>/tenants/<tenant>
  PayloadFormat format = PayloadFormat::kProtobuf;
  uint32_t schema_id = 0;  // for kConfluent: the id that the schema registry gave; 0 is refused
  std::string dataschema;  // the attribute; empty: a name of headgate.v1.Event in this format; "none": left out
};

}  // namespace headgate::sinks
