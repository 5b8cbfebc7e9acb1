// A file system of a few megabytes that can really be full: a tmpfs in a mount namespace of this thread and of the
// threads and programs that it starts afterwards. Needs the right to mount; not thread-safe.
#pragma once

#include <memory>
#include <string>

namespace headgate::testing {

class SmallDisk {
 public:
  // Mounts it at the folder `path`, which is made. nullptr, and `reason` says why, when this is not allowed here.
  static std::unique_ptr<SmallDisk> mount(const std::string& path, size_t bytes, std::string* reason);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  const std::string& path() const { return path_; }
  void resize(size_t bytes);
  // Takes every free byte, with a file of its own, until empty().
  void fill();
  void empty();

 private:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace headgate::testing
