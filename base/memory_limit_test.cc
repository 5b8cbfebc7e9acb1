#include "base/memory_limit.h"

#include <filesystem>

#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate {
namespace {

constexpr size_t kMiB = 1 << 20;

// A machine's /sys/fs/cgroup and /proc/self.
class Machine {
 public:
  Machine& group(const std::string& path, const std::string& file, const std::string& text) {
    std::filesystem::create_directories(folder_.path() + "/groups/" + path);
    testing::write_file(folder_.path() + "/groups/" + path + "/" + file, text);
    return *this;
  }
  size_t limit(const std::string& cgroup) const {
    testing::write_file(folder_.path() + "/cgroup", cgroup);
    return MemoryLimit(folder_.path() + "/groups", folder_.path()).room().limit;
  }

 private:
  testing::TempFolder folder_{"headgate-memory"};
};

}  // namespace

TEST_SUITE("base/memory_limit") {
  TEST_CASE("memory limit: the least of the own group and those above it counts") {
    Machine machine;
    machine.group("pods/one", "memory.max", "1073741824\n").group("pods", "memory.max", "536870912\n");
    machine.group("pods/free", "memory.max", "max\n").group("free", "memory.max", "max\n");
    CHECK(machine.limit("0::/pods/one\n") == 512 * kMiB);
    CHECK(machine.limit("0::/pods/free\n") == 512 * kMiB);
    CHECK(machine.limit("0::/free\n") == 0);
    CHECK(machine.limit("0::/not/to/be/seen\n") == 0);
    // In a container there is only the top.
    machine.group("", "memory.max", "104857600\n");
    CHECK(machine.limit("0::/\n") == 100 * kMiB);
    CHECK(machine.limit("0::/not/to/be/seen\n") == 100 * kMiB);
  }

  TEST_CASE("memory limit: groups of version 1") {
    Machine machine;
    machine.group("memory/pod", "memory.limit_in_bytes", "268435456\n");
    machine.group("memory", "memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(machine.limit("12:cpu,cpuacct:/pod\n7:memory:/pod\n0::/\n") == 256 * kMiB);
    CHECK(machine.limit("7:memory:/\n") == 0);
  }

  TEST_CASE("memory limit: it is short with less than an eighth, until there is clearly more") {
    MemoryShortage shortage;
    const auto left = [&](size_t mib) { return shortage.look({800 * kMiB, (800 - mib) * kMiB, ""}); };
    CHECK_FALSE(left(101));
    CHECK(left(99));
    CHECK(left(112));
    CHECK_FALSE(left(113));
    CHECK_FALSE(left(101));
    CHECK(shortage.look({800 * kMiB, 900 * kMiB, ""}));
    // Of much memory a quarter of a GiB is enough.
    CHECK_FALSE(MemoryShortage().look({size_t{1} << 40, (size_t{1} << 40) - 300 * kMiB, ""}));
    CHECK(MemoryShortage().look({size_t{1} << 40, (size_t{1} << 40) - 200 * kMiB, ""}));
    CHECK_FALSE(MemoryShortage().look({0, 500 * kMiB, ""}));
  }
}

}  // namespace headgate
