#include "tests/support/subscriber_redis_index.h"

#include "base/redis/client.h"
#include "tests/support/subscriber_base.h"

namespace headgate::testing {
namespace {

using Words = std::vector<std::string_view>;

class IndexSubscriber final : public SubscriberBase {
 public:
  IndexSubscriber(redis::ClientSettings settings, std::string index)
      : SubscriberBase("redis_streams"), client_(std::move(settings)), index_(std::move(index)) {
    set_ready();
    start();
  }
  ~IndexSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    while (!stop.stop_requested()) {
      if (!read_round(stop)) client_.close();
      pause(stop, std::chrono::milliseconds(5));
    }
  }

 private:
  bool read_round(std::stop_token stop) {
    const auto names = client_.command(index_, Words{"SMEMBERS", index_}, stop);
    if (!names.ok()) return false;
    for (size_t i = 0; i < (*names)->elements; ++i) {
      const std::string stream(redis::text_of((*names)->element[i]));
      std::string& last = last_ids_.emplace(stream, "-").first->second;
      const std::string from = last == "-" ? last : "(" + last;
      const auto entries = client_.command(stream, Words{"XRANGE", stream, from, "+", "COUNT", "2000"}, stop);
      if (!entries.ok()) return false;
      for (size_t at = 0; at < (*entries)->elements; ++at) take(stream, last, *(*entries)->element[at]);
    }
    return true;
  }

  void take(const std::string& stream, std::string& last, const redisReply& entry) {
    last = redis::text_of(entry.element[0]);
    std::map<std::string, std::string, std::less<>> fields;
    const redisReply& pairs = *entry.element[1];
    for (size_t i = 0; i + 1 < pairs.elements; i += 2) {
      fields[std::string(redis::text_of(pairs.element[i]))] = redis::text_of(pairs.element[i + 1]);
    }
    const auto get = [&](const std::string& name) -> std::optional<std::string> {
      const auto it = fields.find(name);
      return it == fields.end() ? std::nullopt : std::optional(it->second);
    };
    std::string error;
    auto event = decode_binary(get, fields["data"], &error);
    add(std::move(event), error + " in " + stream + " at " + last);
  }

  redis::Client client_;
  const std::string index_;
  std::map<std::string, std::string> last_ids_;
};

}  // namespace

std::unique_ptr<Subscriber> subscribe_redis_index(const redis::ClientSettings& settings, const std::string& index) {
  return std::make_unique<IndexSubscriber>(settings, index);
}

}  // namespace headgate::testing
