#include "sinks/replaceable_sink.h"

namespace headgate::sinks {
namespace {

class ReplaceableSink : public Sink {
 public:
  ReplaceableSink(std::unique_ptr<Sink> sink, std::shared_ptr<Replacement> next)
      : info_(sink->info()), sink_(std::move(sink)), next_(std::move(next)) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return sink_->max_event_bytes(); }
  void close() override { sink_->close(); }

  Status open(std::stop_token stop) override {
    if (std::unique_ptr<Sink> other = next_->take(); other != nullptr) {
      sink_->close();
      sink_ = std::move(other);
    }
    return sink_->open(std::move(stop));
  }
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    return sink_->recover(stored, std::move(stop));
  }
  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (next_->waits()) return {0, to_be_opened()};
    return sink_->write(batch, std::move(stop));
  }
  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    return next_->waits() ? to_be_opened() : sink_->heartbeat(heartbeat, std::move(stop));
  }

 private:
  static Status to_be_opened() { return unavailable("to be opened anew, with the settings that were read again"); }

  const SinkInfo info_;
  std::unique_ptr<Sink> sink_;
  const std::shared_ptr<Replacement> next_;
};

}  // namespace

std::unique_ptr<Sink> make_replaceable_sink(std::unique_ptr<Sink> sink, std::shared_ptr<Replacement> next) {
  return std::make_unique<ReplaceableSink>(std::move(sink), std::move(next));
}

}  // namespace headgate::sinks
