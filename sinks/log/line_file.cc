#include "sinks/log/line_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/log.h"

namespace headgate::sinks {
namespace {

constexpr uint64_t kBlock = 64 << 10;

// Reads exactly `size` bytes at `offset`; false on failure or end of file.
bool read_at(int fd, uint64_t offset, size_t size, std::string& out) {
  out.resize(size);
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, out.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

// A new name is durable only once its folder is.
void sync_folder(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

Status status_of_errno(int error, std::string_view what, const std::string& path) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return status_of(full ? StatusCode::kResourceExhausted : StatusCode::kUnavailable, "cannot {} '{}': {}{}", what, path,
                   std::strerror(error), full ? "; free some space, nothing is lost meanwhile" : "");
}

Status LineFile::open() {
  close();
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd_ < 0) return status_of_errno(errno, "open", path_);
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close();
    if (error == EWOULDBLOCK) return unavailable("'{}' is being written by another process", path_);
    return status_of_errno(error, "lock", path_);
  }
  const Status repaired = repair();
  if (!repaired.ok()) close();
  sync_folder(path_);
  return repaired;
}

void LineFile::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Status LineFile::repair() {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) return status_of_errno(errno, "examine", path_);
  uint64_t end = static_cast<uint64_t>(info.st_size);
  std::string block;
  while (end > 0) {
    const uint64_t start = end > kBlock ? end - kBlock : 0;
    if (!read_at(fd_, start, end - start, block)) return status_of_errno(EIO, "read", path_);
    const size_t newline = block.rfind('\n');
    if (newline != std::string::npos) {
      end = start + newline + 1;
      break;
    }
    end = start;
  }
  if (end != static_cast<uint64_t>(info.st_size)) {
    log_warn("file_sink_torn_line_removed", {{"path", path_}, {"bytes", static_cast<uint64_t>(info.st_size) - end}});
  }
  return cut(end);
}

Status LineFile::cut(uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return status_of_errno(errno, "truncate", path_);
  size_ = size;
  return ok_status();
}

Status LineFile::append(std::string_view lines) {
  size_t done = 0;
  while (done < lines.size()) {
    const ssize_t wrote = ::write(fd_, lines.data() + done, lines.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      const int error = wrote == 0 ? ENOSPC : errno;
      // Without this the next line would continue the torn one. When it fails too, the next open() repairs.
      if (const Status cutting = cut(size_); !cutting.ok()) close();
      return status_of_errno(error, "write", path_);
    }
    done += static_cast<size_t>(wrote);
  }
  size_ += lines.size();
  return ok_status();
}

Status LineFile::sync() {
  if (::fdatasync(fd_) != 0) return status_of_errno(errno, "sync", path_);
  return ok_status();
}

Status LineFile::rotate(int keep) {
  std::error_code ignored;
  std::filesystem::remove(fmt::format("{}.{}", path_, keep), ignored);
  for (int i = keep - 1; i >= 1; --i) {
    std::filesystem::rename(fmt::format("{}.{}", path_, i), fmt::format("{}.{}", path_, i + 1), ignored);
  }
  std::error_code error;
  if (keep >= 1) {
    std::filesystem::rename(path_, path_ + ".1", error);
  } else {
    std::filesystem::remove(path_, error);
  }
  if (error) return status_of_errno(error.value(), "rotate", path_);
  return open();
}

Status for_lines_from_end(const std::string& path, uint64_t bytes, const std::function<bool(std::string_view)>& each) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? ok_status() : status_of_errno(errno, "open", path);
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* f) { ::close(*f); });
  struct stat info {};
  if (::fstat(fd, &info) != 0) return status_of_errno(errno, "examine", path);
  uint64_t start = static_cast<uint64_t>(info.st_size);
  const uint64_t stop_at = start > bytes ? start - bytes : 0;
  std::string text;  // from `start` to the end of the last line not yet given
  std::string block;
  while (start > stop_at) {
    const uint64_t from = start - stop_at > kBlock ? start - kBlock : stop_at;
    if (!read_at(fd, from, start - from, block)) return status_of_errno(EIO, "read", path);
    text.insert(0, block);
    start = from;
    while (true) {
      // `text` ends with the line feed of a complete line, or with a torn line at the very end.
      const size_t end = text.rfind('\n');
      if (end == std::string::npos) break;
      const size_t before = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
      if (before == std::string::npos && start > 0) break;
      const size_t begin = before == std::string::npos ? 0 : before + 1;
      if (!each(std::string_view(text).substr(begin, end - begin))) return ok_status();
      text.resize(begin);
      if (begin == 0) break;
    }
  }
  return ok_status();
}

}  // namespace headgate::sinks
