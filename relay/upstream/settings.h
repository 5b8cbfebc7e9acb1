// How the relay reaches the engine; the factory beside it.
#pragma once

#include <memory>
#include <string>

#include "base/backoff.h"
#include "relay/upstream/upstream.h"

namespace headgate::relay {

enum class UpstreamKind {
  kAuto,   // feed; watch when the engine does not know it
  kFeed,   // headgate.v1.Feed: one stream, ordered, with positions
  kWatch,  // base.v1.Watch: any engine of that contract, one stream a tenant
};

struct UpstreamTls {
  bool enabled = false;
  std::string ca_file;    // empty: the system's
  std::string cert_file;  // of the client, with key_file
  std::string key_file;
  std::string server_name;  // when the certificate names another than the address
};

struct UpstreamSettings {
  std::string address = "127.0.0.1:3478";  // host:port, or a gRPC target such as dns:///engine:3478
  UpstreamKind kind = UpstreamKind::kAuto;
  UpstreamTls tls;
  std::string key;               // sent as "authorization: Bearer <key>"; a secret
  Duration call_timeout{5'000};  // unary calls, and the first answer of a stream

  // Feed: without a message for heartbeat_interval x heartbeats_missed the stream is taken for dead.
  Duration heartbeat_interval{500};
  int heartbeats_missed = 10;
  Duration keepalive{20'000};  // HTTP/2 pings; 0: none

  // Watch.
  int watch_channels = 4;
  Duration tenant_poll{3'000};
  BackoffSettings stream_backoff{Duration(200), Duration(30'000)};
  // Plain Watch servers punish frequent pings on quiet connections, so these are rare.
  Duration watch_keepalive{330'000};
  // A tenant without events restarts at a token that is at least this old, given that all streams stood meanwhile.
  Duration quiet_token_age{60'000};
  // A stream from the head that has said nothing for so long is opened again: see WatchRun::renew_silent().
  Duration silent_start{10'000};
  // How long a run waits at its end for the calls that it cancelled; what has not ended by then is left behind.
  Duration stream_end_max{5'000};
};

// Neither connects nor blocks. `budget` limits the streams that are opened; it must outlive the upstream.
// INVALID_ARGUMENT for files that cannot be read.
StatusOr<std::unique_ptr<Upstream>> make_upstream(const UpstreamSettings& settings, TokenBucket& budget, Clock& clock);

}  // namespace headgate::relay
