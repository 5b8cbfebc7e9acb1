#include "relay/delivery/dead_letter.h"

#include <absl/strings/escaping.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace headgate::relay {

DeadLetterFile::~DeadLetterFile() {
  if (file_ >= 0) close(file_);
}

Status DeadLetterFile::append(const std::string& sink, const sinks::Delivery& delivery, const Status& reason,
                              int64_t now_us) {
  if (file_ < 0) file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (file_ < 0) return unavailable("cannot open the dead letter file {}: {}", path_, std::strerror(errno));
  const sinks::Event& event = *delivery.event;
  const nlohmann::json line{{"sink", sink},
                            {"tenant", event.tenant},
                            {"xid", event.xid},
                            {"part", event.part},
                            {"sequence", delivery.sequence},
                            {"snap_token", event.snap_token},
                            {"previous_token", delivery.previous_token},
                            {"incarnation", event.incarnation},
                            {"error", describe(reason)},
                            {"at_us", now_us},
                            {"payload", absl::Base64Escape(event.payload)}};
  const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const off_t before = lseek(file_, 0, SEEK_END);
  if (write(file_, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fdatasync(file_) == 0) {
    return ok_status();
  }
  const std::string error = std::strerror(errno);
  // Half a line would spoil the next one.
  if (ftruncate(file_, before) != 0) {
    close(file_);
    file_ = -1;
  }
  return unavailable("cannot write to the dead letter file {}: {}", path_, error);
}

}  // namespace headgate::relay
