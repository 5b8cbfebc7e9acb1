#include "base/redis/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>

namespace headgate::redis {
namespace {

std::string openssl_reason() {
  std::string reason = "no reason given";
  if (const unsigned long code = ERR_get_error(); code != 0) {
    std::array<char, 256> text{};
    ERR_error_string_n(code, text.data(), text.size());
    reason = text.data();
  }
  ERR_clear_error();
  return reason;
}

Status file_fault(std::string_view key, const std::string& file) {
  return invalid_argument("redis: {} '{}' cannot be used: {}", key, file, openssl_reason());
}

bool is_ip(const std::string& host) {
  std::array<unsigned char, 16> bytes{};
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

}  // namespace

StatusOr<std::shared_ptr<const TlsContext>> TlsContext::make(const TlsSettings& settings) {
  ERR_clear_error();
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  if (context == nullptr) return internal_error("redis: TLS cannot be set up: {}", openssl_reason());
  std::shared_ptr<const TlsContext> made(new TlsContext(context, settings.server_name));
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
  const bool trusts = settings.ca_file.empty()
                          ? SSL_CTX_set_default_verify_paths(context) == 1
                          : SSL_CTX_load_verify_locations(context, settings.ca_file.c_str(), nullptr) == 1;
  if (!trusts) return file_fault("tls_ca_file", settings.ca_file);
  if (settings.cert_file.empty()) return made;
  if (SSL_CTX_use_certificate_chain_file(context, settings.cert_file.c_str()) != 1) {
    return file_fault("tls_cert_file", settings.cert_file);
  }
  if (SSL_CTX_use_PrivateKey_file(context, settings.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return file_fault("tls_key_file", settings.key_file);
  }
  return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

TlsStream::TlsStream(std::shared_ptr<const TlsContext> context, const std::string& host)
    : context_(std::move(context)),
      ssl_(SSL_new(context_->context_)),
      incoming_(BIO_new(BIO_s_mem())),
      outgoing_(BIO_new(BIO_s_mem())) {
  HG_CHECK(ssl_ != nullptr && incoming_ != nullptr && outgoing_ != nullptr);  // out of memory
  BIO_set_mem_eof_return(incoming_, -1);
  SSL_set_bio(ssl_, incoming_, outgoing_);
  SSL_set_connect_state(ssl_);
  const std::string& name = context_->server_name_.empty() ? host : context_->server_name_;
  if (is_ip(name)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), name.c_str());
  } else {
    SSL_set1_host(ssl_, name.c_str());
    SSL_set_tlsext_host_name(ssl_, name.c_str());
  }
}

TlsStream::~TlsStream() { SSL_free(ssl_); }

Status TlsStream::failure(const char* what) const {
  const long verified = SSL_get_verify_result(ssl_);
  if (verified != X509_V_OK) {
    ERR_clear_error();
    return unavailable("TLS {}: the server's certificate is refused: {}; check tls_ca_file and tls_server_name", what,
                       X509_verify_cert_error_string(verified));
  }
  return unavailable("TLS {}: {}", what, openssl_reason());
}

StatusOr<bool> TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) return true;
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
  return failure("handshake");
}

Status TlsStream::encrypt(std::string_view plain) {
  ERR_clear_error();
  size_t written = 0;
  // Memory takes everything at once.
  if (plain.empty() || SSL_write_ex(ssl_, plain.data(), plain.size(), &written) == 1) return ok_status();
  return failure("write");
}

void TlsStream::put_incoming(std::string_view arrived) {
  if (!arrived.empty()) BIO_write(incoming_, arrived.data(), static_cast<int>(arrived.size()));
}

StatusOr<bool> TlsStream::decrypt(std::string& plain) {
  ERR_clear_error();
  std::array<char, 16 * 1024> buffer;
  while (true) {
    size_t got = 0;
    const int result = SSL_read_ex(ssl_, buffer.data(), buffer.size(), &got);
    if (result == 1) {
      plain.append(buffer.data(), got);
      continue;
    }
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
    if (error == SSL_ERROR_ZERO_RETURN) return false;
    return failure("read");
  }
}

void TlsStream::take_outgoing(std::string& out) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(outgoing_, &data);
  if (size <= 0) return;
  out.append(data, static_cast<size_t>(size));
  BIO_reset(outgoing_);
}

}  // namespace headgate::redis
