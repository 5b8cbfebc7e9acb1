#include "base/log.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/log/line_file.h"
#include "sinks/log/log_sinks.h"

namespace headgate::sinks {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
// How far recover() looks back; a tenant whose last event is further away is simply not told.
constexpr uint64_t kRecoverBytes = 64 << 20;

class FileSink : public Sink {
 public:
  FileSink(std::string name, Encoder encoder, FileSettings settings)
      : info_{std::move(name), "file", Guarantee::kAtLeastOnce},
        encoder_(std::move(encoder)),
        settings_(std::move(settings)),
        file_(settings_.path) {}

  const SinkInfo& info() const override { return info_; }
  Status open(std::stop_token) override { return file_.open(); }
  void close() override { file_.close(); }

  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    std::map<std::string, Cursor> found;
    size_t missing = stored.size();
    // Tenants without a cursor stand behind what is committed; with a store that was lost, anywhere.
    bool committed = false;
    const auto take = [&](std::string_view line) {
      const auto event = read_back_structured(line);
      if (event.ok() && found.emplace(event->tenant, event->cursor).second) missing -= stored.count(event->tenant);
      committed = committed || (event.ok() && is_committed(*event, stored));
      return !stop.stop_requested() && (missing > 0 || !committed);
    };
    HG_RETURN_IF_ERROR(for_lines_from_end(settings_.path, kRecoverBytes, take));
    if (missing > 0 && settings_.rotate_bytes > 0) {
      HG_RETURN_IF_ERROR(for_lines_from_end(settings_.path + ".1", kRecoverBytes, take));
    }
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped while reading the file back");
    return found;
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (!file_.is_open()) return {0, unavailable("'{}' is not open", settings_.path)};
    const uint64_t before = file_.size();
    size_t appended = 0;
    Status status = append(batch, stop, appended);
    if (appended == 0) return {0, status};
    const Status synced = settings_.sync ? file_.sync() : ok_status();
    if (!synced.ok()) {
      // After a failed sync nobody knows what the device holds of it; all of it is written again.
      if (!file_.cut(before).ok()) log_warn("file_sink_cut_failed", {{"path", settings_.path}});
      file_.close();
      return {0, synced};
    }
    if (status.ok() && settings_.rotate_bytes > 0 && file_.size() > settings_.rotate_bytes) {
      status = file_.rotate(settings_.rotate_keep);
    }
    return {appended, status};
  }

  // Without a sync: it says only what was acknowledged before, and may be lost.
  Status heartbeat(const Heartbeat& heartbeat, std::stop_token) override {
    if (!file_.is_open()) return unavailable("'{}' is not open", settings_.path);
    std::string lines;
    for (const Delivery& delivery : heartbeat_deliveries(heartbeat)) {
      HG_RETURN_IF_ERROR(encoder_.encode_structured(delivery, lines));
      lines += '\n';
    }
    return file_.append(lines);
  }

 private:
  // True when the stored cursors say that this event was acknowledged, and so all before it.
  static bool is_committed(const Found& event, const std::map<std::string, Cursor>& stored) {
    const auto known = stored.find(event.tenant);
    return known != stored.end() && event.cursor.sequence <= known->second.sequence;
  }

  Status append(const Batch& batch, std::stop_token stop, size_t& appended) {
    std::string lines;
    const size_t count = batch.deliveries.size();
    for (size_t i = 0; i < count; ++i) {
      const size_t length = lines.size();
      if (const Status encoded = encoder_.encode_structured(batch.deliveries[i], lines); !encoded.ok()) {
        lines.resize(length);
        HG_RETURN_IF_ERROR(file_.append(lines));
        appended = i;
        return encoded;
      }
      lines += '\n';
      if (lines.size() < kChunkBytes && i + 1 < count) continue;
      if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
      HG_RETURN_IF_ERROR(file_.append(lines));
      lines.clear();
      appended = i + 1;
    }
    return ok_status();
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const FileSettings settings_;
  LineFile file_;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_file_sink(std::string name, const EncodingSettings& encoding,
                                               const FileSettings& settings) {
  if (settings.path.empty()) return invalid_argument("sink '{}': path is missing", name);
  if (settings.rotate_keep < 0) return invalid_argument("sink '{}': rotate_keep may not be negative", name);
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  return std::make_unique<FileSink>(std::move(name), std::move(encoder), settings);
}

}  // namespace headgate::sinks
