// Settings of the NATS sinks.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace headgate::sinks {

struct NatsConnectionSettings {
  std::string url = "nats://127.0.0.1:4222";  // several servers separated by commas
  std::string user;
  std::string password;
  std::string token;
  std::string credentials_file;  // JWT and seed
  bool tls = false;
  std::string tls_ca_file;
  std::string tls_cert_file;
  std::string tls_key_file;
  Duration connect_timeout{1'000};  // of each server; a stop request waits for it
  Duration write_timeout{5'000};    // a server that takes nothing for so long is taken for dead
};

struct JetStreamSettings {
  NatsConnectionSettings connection;
  std::string stream = "HEADGATE";
  std::string prefix = "headgate";
  std::string subject = "{prefix}.{tenant}";             // template; one subject for each tenant
  std::string heartbeat_subject = "{prefix}.heartbeat";  // template; ".sink" or ".tenant.<name>" follows
  bool create_stream = false;                            // when it is absent: file storage, subjects "<prefix>.>"
  int replicas = 1;                                      // of a stream that is created
  int64_t stream_bytes_max = 0;                          // of a stream that is created; 0: no limit
  Duration max_age{0};                                   // of a stream that is created; 0: for ever
  size_t pending_max = 4'000;                            // publishes awaiting their acknowledgement
  Duration ack_timeout{5'000};
  size_t event_bytes_max = 0;  // 0: what the server allows (max_payload)
};

// Fire and forget. Signal only.
struct NatsCoreSettings {
  NatsConnectionSettings connection;
  std::string prefix = "headgate";
  std::string subject = "{prefix}.{tenant}";
  std::string heartbeat_subject = "{prefix}.heartbeat";  // template; ".sink" or ".tenant.<name>" follows
  bool structured = false;                               // JSON in the body instead of ce- headers
  Duration flush_timeout{2'000};
};

}  // namespace headgate::sinks
