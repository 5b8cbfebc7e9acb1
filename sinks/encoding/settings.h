// How events become CloudEvents; the same for every kind of sink.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace headgate::sinks {

enum class PayloadFormat {
  kProtobuf,   // headgate.v1.Event; of changes these are the bytes of the upstream
  kJson,       // the same as protobuf JSON with the field names of the .proto file
  kConfluent,  // protobuf behind Confluent's frame: byte 0, schema id, message index 0
};

// Of Confluent's HTTP API, for kConfluent.
struct SchemaRegistrySettings {
  std::string url;  // http://registry.example:8081, or with a path behind it; empty: nothing is registered
  std::string subject = "headgate.v1.Event";
  std::string user;  // of basic authentication; empty: none
  std::string password;
  std::string ca_file;  // of https; empty: the system's authorities
  Duration timeout{5'000};
};

struct EncodingSettings {
  std::string cluster = "default";  // in the source attribute: /headgate/<cluster>/tenants/<tenant>
  PayloadFormat format = PayloadFormat::kProtobuf;
  uint32_t schema_id = 0;           // for kConfluent: the id that the schema registry gave; 0 is refused
  SchemaRegistrySettings registry;  // gives the schema_id instead
  std::string dataschema;  // the attribute; empty: a name of headgate.v1.Event in this format; "none": left out
};

}  // namespace headgate::sinks
