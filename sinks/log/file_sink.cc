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
    const auto take = [&](std::string_view line) {
      const auto event = read_back_structured(line);
      if (event.ok() && found.emplace(event->tenant, event->cursor).second) missing -= stored.count(event->tenant);
      return !stop.stop_requested() && (missing > 0 || stored.empty());
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

 private:
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
