#include "sinks/registry/registered_sink.h"

#include "base/log.h"
#include "sinks/registry/schema_registry.h"

namespace headgate::sinks {
namespace {

class RegisteredSink : public Sink {
 public:
  RegisteredSink(EncodingSettings encoding, MakeEncoded make, std::unique_ptr<Sink> checked)
      : info_(checked->info()), encoding_(std::move(encoding)), make_(std::move(make)), sink_(std::move(checked)) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return sink_->max_event_bytes(); }
  void close() override { sink_->close(); }

  Status open(std::stop_token stop) override {
    if (!registered_) HG_RETURN_IF_ERROR(enroll(stop));
    return sink_->open(std::move(stop));
  }

  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    if (!registered_) return not_connected();
    return sink_->recover(stored, std::move(stop));
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (!registered_) return {0, not_connected()};
    return sink_->write(batch, std::move(stop));
  }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    return registered_ ? sink_->heartbeat(heartbeat, std::move(stop)) : not_connected();
  }

 private:
  static Status not_connected() { return unavailable("the schema of events is not registered yet"); }

  Status enroll(std::stop_token stop) {
    const SchemaRegistrySettings& registry = encoding_.registry;
    EncodingSettings encoding = encoding_;
    HG_ASSIGN_OR_RETURN(encoding.schema_id, register_schema(registry, event_schema(), std::move(stop)));
    // Where a subscriber finds the schema.
    if (encoding.dataschema.empty()) {
      encoding.dataschema = fmt::format("{}/schemas/ids/{}", registry.url, encoding.schema_id);
    }
    HG_ASSIGN_OR_RETURN(sink_, make_(encoding));
    registered_ = true;
    log_info(
        "schema_registered",
        {{"sink", info_.name}, {"registry", registry.url}, {"subject", registry.subject}, {"id", encoding.schema_id}});
    return ok_status();
  }

  const SinkInfo info_;
  const EncodingSettings encoding_;
  const MakeEncoded make_;
  std::unique_ptr<Sink> sink_;  // with an id that nobody sees, until registered_
  bool registered_ = false;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_registered_sink(const EncodingSettings& encoding, MakeEncoded make) {
  HG_RETURN_IF_ERROR(check_registry_settings(encoding.registry));
  if (encoding.format != PayloadFormat::kConfluent) {
    return invalid_argument("schema_registry.url is for format confluent, whose events name the schema");
  }
  if (encoding.schema_id != 0) {
    return invalid_argument("schema_id and schema_registry.url exclude each other: the registry gives the id");
  }
  EncodingSettings checked = encoding;
  checked.schema_id = 1;
  HG_ASSIGN_OR_RETURN(std::unique_ptr<Sink> sink, make(checked));
  return std::make_unique<RegisteredSink>(encoding, std::move(make), std::move(sink));
}

}  // namespace headgate::sinks
