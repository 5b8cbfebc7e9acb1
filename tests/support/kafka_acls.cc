#include "tests/support/kafka_acls.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "tests/support/kafka_admin_client.h"

namespace headgate::testing {

namespace {

constexpr int kAclTimeoutMs = 20'000;

rd_kafka_AclOperation_t operation_of(const std::string& word) {
  static const std::map<std::string, rd_kafka_AclOperation_t> kWords = {
      {"Read", RD_KAFKA_ACL_OPERATION_READ},
      {"Write", RD_KAFKA_ACL_OPERATION_WRITE},
      {"Create", RD_KAFKA_ACL_OPERATION_CREATE},
      {"Describe", RD_KAFKA_ACL_OPERATION_DESCRIBE},
      {"DescribeConfigs", RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS}};
  return kWords.at(word);
}

void demand(const rd_kafka_event_t* event, const std::string& what) {
  if (event == nullptr) throw std::runtime_error(what + ": no answer in time");
  if (rd_kafka_event_error(const_cast<rd_kafka_event_t*>(event)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw std::runtime_error(what + ": " + rd_kafka_event_error_string(const_cast<rd_kafka_event_t*>(event)));
  }
}

void grant_on_topic(const std::string& brokers, const std::string& user, const KafkaAcl& acl) {
  const auto client = kafka_admin_of(brokers);
  const KafkaKept<rd_kafka_queue_t> queue(rd_kafka_queue_new(client.get()), rd_kafka_queue_destroy);
  std::array<char, 512> error{};
  rd_kafka_AclBinding_t* binding = rd_kafka_AclBinding_new(
      RD_KAFKA_RESOURCE_TOPIC, acl.name.c_str(), RD_KAFKA_RESOURCE_PATTERN_LITERAL, ("User:" + user).c_str(), "*",
      operation_of(acl.operation), RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, error.data(), error.size());
  if (binding == nullptr) throw std::runtime_error(error.data());
  const KafkaKept<rd_kafka_AclBinding_t> kept(binding, rd_kafka_AclBinding_destroy);
  rd_kafka_CreateAcls(client.get(), &binding, 1, nullptr, queue.get());
  const KafkaKept<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kAclTimeoutMs), rd_kafka_event_destroy);
  demand(event.get(), "grant");
  size_t count = 0;
  const auto* results = rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event.get()), &count);
  const rd_kafka_error_t* refused = count == 0 ? nullptr : rd_kafka_acl_result_error(results[0]);
  if (refused != nullptr) throw std::runtime_error(std::string("grant: ") + rd_kafka_error_string(refused));
}

// librdkafka of this version knows no such resource.
void grant_on_transactional_id(const std::string& brokers, const std::string& user, const KafkaAcl& acl) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string root = cache != nullptr ? cache : std::string(home == nullptr ? "/tmp" : home) + "/.cache";
  const std::string jars = root + "/headgate/kafka/libs/*";
  const pid_t child = ::fork();
  if (child == 0) {
    ::execlp("java", "java", "-XX:TieredStopAtLevel=1", "-cp", jars.c_str(), "kafka.admin.AclCommand",
             "--bootstrap-server", brokers.c_str(), "--add", "--force", "--allow-principal", ("User:" + user).c_str(),
             "--operation", acl.operation.c_str(), "--transactional-id", acl.name.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw std::runtime_error("kafka.admin.AclCommand failed");
}

}  // namespace

void grant(const std::string& brokers, const std::string& user, const std::vector<KafkaAcl>& acls) {
  for (const KafkaAcl& acl : acls) {
    acl.kind == "Topic" ? grant_on_topic(brokers, user, acl) : grant_on_transactional_id(brokers, user, acl);
  }
}

void revoke(const std::string& brokers, const std::string& user, const KafkaAcl& acl) {
  const auto client = kafka_admin_of(brokers);
  const KafkaKept<rd_kafka_queue_t> queue(rd_kafka_queue_new(client.get()), rd_kafka_queue_destroy);
  std::array<char, 512> error{};
  rd_kafka_AclBindingFilter_t* filter = rd_kafka_AclBindingFilter_new(
      RD_KAFKA_RESOURCE_TOPIC, acl.name.c_str(), RD_KAFKA_RESOURCE_PATTERN_LITERAL, ("User:" + user).c_str(), "*",
      operation_of(acl.operation), RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, error.data(), error.size());
  if (filter == nullptr) throw std::runtime_error(error.data());
  const KafkaKept<rd_kafka_AclBindingFilter_t> kept(filter, rd_kafka_AclBinding_destroy);
  rd_kafka_DeleteAcls(client.get(), &filter, 1, nullptr, queue.get());
  const KafkaKept<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kAclTimeoutMs), rd_kafka_event_destroy);
  demand(event.get(), "revoke");
}

std::string acl_properties(const std::string& listeners, const std::string& advertised, const std::string& protocols,
                           int sasl_port) {
  const std::string sasl = ",SASL://127.0.0.1:" + std::to_string(sasl_port);
  return "listeners=" + listeners + sasl + "\nadvertised.listeners=" + advertised + sasl +
         "\nlistener.security.protocol.map=" + protocols +
         ",SASL:SASL_PLAINTEXT\nsasl.enabled.mechanisms=PLAIN\n"
         "listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required "
         "user_relay=\"pw\" user_other=\"pw\";\n"
         "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
         "super.users=User:ANONYMOUS\n";
}

}  // namespace headgate::testing
