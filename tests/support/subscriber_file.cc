#include <fstream>

#include "tests/support/subscriber_base.h"

namespace headgate::testing {
namespace {

class FileSubscriber final : public SubscriberBase {
 public:
  explicit FileSubscriber(std::string path) : SubscriberBase("file"), path_(std::move(path)) {
    set_ready();
    start();
  }
  ~FileSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    while (!stop.stop_requested()) {
      read_new_lines();
      pause(stop, std::chrono::milliseconds(1));
    }
  }

 private:
  // Only whole lines; the rest of one that is being written comes with the next turn.
  void read_new_lines() {
    std::ifstream in(path_, std::ios::binary);
    in.seekg(offset_);
    std::string line;
    while (std::getline(in, line) && !in.eof()) {
      offset_ += static_cast<std::streamoff>(line.size()) + 1;
      std::string error;
      auto event = decode_structured(line, &error);
      add(std::move(event), error);
    }
  }

  const std::string path_;
  std::streamoff offset_ = 0;
};

}  // namespace

std::unique_ptr<Subscriber> subscribe_file(const std::string& path) { return std::make_unique<FileSubscriber>(path); }

}  // namespace headgate::testing
