#include <fstream>

#include "base/clock.h"
#include "ops/demo/subscriber.h"

namespace headgate::demo {

Subscriber subscribe_file(const std::string& path, Inbox& inbox) {
  return Subscriber([=, &inbox](std::stop_token stop) {
    inbox.subscribed();
    std::ifstream file;
    std::string line;
    while (!stop.stop_requested()) {
      if (!file.is_open()) file.open(path);
      std::string piece;
      if (!file.is_open() || !std::getline(file, piece)) {
        file.clear();
        system_clock().sleep(Duration(2), stop);
        continue;
      }
      line += piece;
      if (file.eof()) {  // half a line: its writer is not done yet
        file.clear();
        continue;
      }
      inbox.take_structured(line);
      line.clear();
    }
  });
}

}  // namespace headgate::demo
