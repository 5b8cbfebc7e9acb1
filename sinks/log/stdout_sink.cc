#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "sinks/encoding/cloud_event.h"
#include "sinks/log/line_file.h"
#include "sinks/log/log_sinks.h"

namespace headgate::sinks {
namespace {

// A pipe that poll() calls writable takes at least so much without blocking.
constexpr size_t kSlice = 4096;

class StdoutSink : public Sink {
 public:
  StdoutSink(std::string name, Encoder encoder)
      : info_{std::move(name), "stdout", Guarantee::kAtLeastOnce, /*keeps_place=*/false},
        encoder_(std::move(encoder)) {}

  const SinkInfo& info() const override { return info_; }
  Status open(std::stop_token) override { return ok_status(); }
  void close() override {}
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>&, std::stop_token) override {
    return std::map<std::string, Cursor>();
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    std::string lines;
    std::vector<size_t> ends;  // of each delivery's line within `lines`
    Status status;
    for (const Delivery& delivery : batch.deliveries) {
      const size_t length = lines.size();
      status = encoder_.encode_structured(delivery, lines);
      if (!status.ok()) {
        lines.resize(length);
        break;
      }
      lines += '\n';
      ends.push_back(lines.size());
    }
    size_t done = 0;
    if (const Status written = put(lines, done, stop); !written.ok()) status = written;
    return {static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), done) - ends.begin()), status};
  }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    std::string lines;
    for (const Delivery& delivery : heartbeat_deliveries(heartbeat)) {
      HG_RETURN_IF_ERROR(encoder_.encode_structured(delivery, lines));
      lines += '\n';
    }
    size_t done = 0;
    return put(lines, done, std::move(stop));
  }

 private:
  // When a line was torn by an error, the next call ends it with a line feed, so that its repetition is readable.
  Status put(std::string_view text, size_t& done, std::stop_token stop) {
    if (torn_ && !text.empty()) {
      size_t ended = 0;
      HG_RETURN_IF_ERROR(put_bytes("\n", ended, stop));
      torn_ = false;
    }
    const Status status = put_bytes(text, done, stop);
    torn_ = torn_ || (done > 0 && text[done - 1] != '\n');
    return status;
  }

  static Status put_bytes(std::string_view text, size_t& done, std::stop_token stop) {
    while (done < text.size()) {
      if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
      pollfd out{STDOUT_FILENO, POLLOUT, 0};
      if (::poll(&out, 1, 50) <= 0) continue;
      const ssize_t wrote = ::write(STDOUT_FILENO, text.data() + done, std::min(kSlice, text.size() - done));
      if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (wrote < 0) return status_of_errno(errno, "write to", "standard output");
      done += static_cast<size_t>(wrote);
    }
    return ok_status();
  }

  const SinkInfo info_;
  const Encoder encoder_;
  bool torn_ = false;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_stdout_sink(std::string name, const EncodingSettings& encoding,
                                                 const StdoutSettings&) {
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  return std::make_unique<StdoutSink>(std::move(name), std::move(encoder));
}

}  // namespace headgate::sinks
