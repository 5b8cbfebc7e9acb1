// What an administrator grants on a Kafka broker. Throws std::runtime_error. Independent of doctest.
#pragma once

#include <string>
#include <vector>

namespace headgate::testing {

struct KafkaAcl {
  std::string operation;  // "Write", as docs/rights.md and kafka-acls.sh name it
  std::string kind;       // "Topic" or "TransactionalId"
  std::string name;

  bool operator==(const KafkaAcl&) const = default;
};

// By a listener where we are a superuser. What is there already may be granted again.
void grant(const std::string& brokers, const std::string& user, const std::vector<KafkaAcl>& acls);
// `kind` Topic alone.
void revoke(const std::string& brokers, const std::string& user, const KafkaAcl& acl);

// Lines of a broker's properties by which it has a second listener SASL at this port, with PLAIN, for the users relay
// and other (password: pw), who may do only what is granted. The first listener's anonymous user may do all.
std::string acl_properties(const std::string& listeners, const std::string& advertised, const std::string& protocols,
                           int sasl_port);

}  // namespace headgate::testing
