// TLS by OpenSSL over memory: it never touches the socket, so that waiting, time-outs and signals stay with the
// connection.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/redis/settings.h"

struct ssl_ctx_st;
struct ssl_st;
struct bio_st;

namespace headgate::redis {

// Certificates and rules; immutable, shared by connections.
class TlsContext {
 public:
  // INVALID_ARGUMENT when a file cannot be read or key and certificate do not fit.
  static StatusOr<std::shared_ptr<const TlsContext>> make(const TlsSettings& settings);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsStream;
  TlsContext(ssl_ctx_st* context, std::string server_name) : context_(context), server_name_(std::move(server_name)) {}
  ssl_ctx_st* const context_;
  const std::string server_name_;
};

// One connection's client side. Not thread-safe.
class TlsStream {
 public:
  // The server must prove that it is `host`, unless the settings name another.
  TlsStream(std::shared_ptr<const TlsContext> context, const std::string& host);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // True when it is done; false: send what take_outgoing() gives, put_incoming() what arrives, and ask again.
  // UNAVAILABLE with OpenSSL's reason, also for a certificate that does not verify.
  StatusOr<bool> handshake();
  Status encrypt(std::string_view plain);
  void put_incoming(std::string_view arrived);
  // What came in, decrypted, added to `plain`. False at the end of the connection.
  StatusOr<bool> decrypt(std::string& plain);
  // Moves what has to be sent to the end of `out`.
  void take_outgoing(std::string& out);

 private:
  Status failure(const char* what) const;

  const std::shared_ptr<const TlsContext> context_;
  ssl_st* ssl_;
  bio_st* incoming_;  // owned by ssl_
  bio_st* outgoing_;
};

}  // namespace headgate::redis
