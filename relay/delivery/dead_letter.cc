#include "relay/delivery/dead_letter.h"

#include <absl/strings/escaping.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "sinks/encoding/cloud_event.h"

namespace headgate::relay {

namespace {

using nlohmann::json;

constexpr Duration kLockWait{1'000};

std::string key_of(const std::string& sink, const std::string& id, uint64_t sequence) {
  // As the file has it: JSON cannot hold every byte.
  return json::array({sink, id, sequence}).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string key_of(const std::string& sink, const sinks::Delivery& delivery) {
  return key_of(sink, sinks::event_id(delivery), delivery.sequence);
}

std::string line_of(const std::string& sink, const sinks::Delivery& delivery, const Status& reason, int64_t now_us) {
  const sinks::Event& event = *delivery.event;
  const json line{{"sink", sink},
                  {"id", sinks::event_id(delivery)},
                  {"type", sinks::type_of(event.kind)},
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
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

// Names of files are read again by those who move them; what is open is not asked.
bool still_there(int file, const std::string& path) {
  struct stat open_one {};
  struct stat named {};
  return fstat(file, &open_one) == 0 && stat(path.c_str(), &named) == 0 && open_one.st_ino == named.st_ino &&
         open_one.st_dev == named.st_dev;
}

}  // namespace

// Among all writers of the file.
class DeadLetterFile::Lock {
 public:
  explicit Lock(int file) : file_(file) {
    const MonotonicTime end = system_clock().now() + kLockWait;
    while (!(held_ = flock(file_, LOCK_EX | LOCK_NB) == 0) && system_clock().now() < end) {
      system_clock().sleep(Duration(2), {});
    }
  }
  ~Lock() {
    if (held_) flock(file_, LOCK_UN);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool held() const { return held_; }

 private:
  const int file_;
  bool held_ = false;
};

DeadLetterFile::~DeadLetterFile() { close_file(); }

void DeadLetterFile::close_file() {
  if (file_ >= 0) close(file_);
  file_ = -1;
}

Status DeadLetterFile::failure(const char* what) const {
  const int error = errno;
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return unavailable("cannot {} the dead letter file {}: {}{}", what, path_, std::strerror(error),
                     full ? "; free some space: the sink waits, since the event must not be lost" : "");
}

StatusOr<bool> DeadLetterFile::holds(const std::string& sink, const sinks::Delivery& delivery) {
  if (path_.empty()) return false;
  HG_RETURN_IF_ERROR(ready());
  return keys_.count(key_of(sink, delivery)) != 0;
}

Status DeadLetterFile::append(const std::string& sink, const sinks::Delivery& delivery, const Status& reason,
                              int64_t now_us) {
  HG_RETURN_IF_ERROR(ready());
  std::string key = key_of(sink, delivery);
  if (keys_.count(key) != 0) return ok_status();
  HG_RETURN_IF_ERROR(write_line(line_of(sink, delivery, reason, now_us)));
  remember(std::move(key));
  return ok_status();
}

Status DeadLetterFile::ready() {
  if (file_ >= 0 && still_there(file_, path_)) return ok_status();
  close_file();
  file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (file_ < 0) return failure("open");
  const Status status = repair_and_index();
  if (!status.ok()) close_file();
  return status;
}

Status DeadLetterFile::repair_and_index() {
  const Lock lock(file_);
  if (!lock.held()) return failure("lock");
  const off_t size = lseek(file_, 0, SEEK_END);
  if (size < 0) return failure("read");
  const off_t begin = std::max<off_t>(0, size - kIndexedBytes);
  std::string text(static_cast<size_t>(size - begin), '\0');
  for (size_t done = 0; done < text.size();) {
    const ssize_t got = pread(file_, text.data() + done, text.size() - done, begin + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failure("read");
    done += static_cast<size_t>(got);
  }
  // In front of the window stands the rest of a line.
  size_t at = begin == 0 ? 0 : std::min(text.find('\n'), text.size() - 1) + 1;
  for (size_t end = text.find('\n', at); end != std::string::npos; end = text.find('\n', at)) {
    index_line(std::string_view(text).substr(at, end - at));
    at = end + 1;
  }
  if (at == text.size()) return ok_status();
  const std::string_view rest = std::string_view(text).substr(at);
  const bool complete = json::accept(rest);
  log_warn(
      "dead_letter_file_repaired",
      {{"path", path_}, {"bytes", rest.size()}, {"action", complete ? "ended the last line" : "cut off half a line"}});
  if (!complete) {
    return ftruncate(file_, begin + static_cast<off_t>(at)) == 0 && fsync(file_) == 0 ? ok_status() : failure("repair");
  }
  index_line(rest);
  return write(file_, "\n", 1) == 1 && fsync(file_) == 0 ? ok_status() : failure("repair");
}

Status DeadLetterFile::write_line(const std::string& line) {
  const Lock lock(file_);
  if (!lock.held()) return failure("lock");
  const off_t before = lseek(file_, 0, SEEK_END);
  errno = ENOSPC;  // what a short write means that reports nothing
  if (write(file_, line.data(), line.size()) == static_cast<ssize_t>(line.size()) && fdatasync(file_) == 0) {
    return ok_status();
  }
  const Status status = failure("write to");
  // Half a line would spoil the next one; what cannot be cut now is cut when the file is opened again.
  if (ftruncate(file_, before) != 0) close_file();
  return status;
}

void DeadLetterFile::index_line(std::string_view line) {
  const json parsed = json::parse(line, nullptr, false);
  if (!parsed.is_object()) return;
  try {
    // Lines of the version before had no id.
    const std::string id = parsed.contains("id")
                               ? parsed.at("id").get<std::string>()
                               : fmt::format("{}/{}/{}", parsed.at("tenant").get<std::string>(),
                                             parsed.at("xid").get<uint64_t>(), parsed.at("part").get<uint32_t>());
    remember(key_of(parsed.at("sink").get<std::string>(), id, parsed.at("sequence").get<uint64_t>()));
  } catch (const json::exception&) {
    // Somebody else's line.
  }
}

void DeadLetterFile::remember(std::string key) {
  const auto [place, added] = keys_.insert(std::move(key));
  if (!added) return;
  order_.push_back(&*place);
  if (order_.size() <= kIndexedMax) return;
  const std::string oldest = *order_.front();
  order_.pop_front();
  keys_.erase(oldest);
}

}  // namespace headgate::relay
