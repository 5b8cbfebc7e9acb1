#include "base/socket_watchdog.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "tests/support/test_main.h"

namespace headgate {

TEST_SUITE("base/socket_watchdog") {
  TEST_CASE("watch: a read that gets no answer ends after the limit, and others go on") {
    std::array<int, 2> silent{};
    std::array<int, 2> healthy{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, silent.data()) == 0);
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, healthy.data()) == 0);
    SocketWatchdog watchdog;
    const auto patient = watchdog.watch(healthy[0], Duration(600'000));
    char byte = 0;
    {
      const auto begin = std::chrono::steady_clock::now();
      const auto watch = watchdog.watch(silent[0], Duration(200));
      CHECK(::recv(silent[0], &byte, 1, 0) == 0);
      CHECK(std::chrono::steady_clock::now() - begin >= Duration(200));
    }
    CHECK(::send(healthy[1], "x", 1, MSG_NOSIGNAL) == 1);
    CHECK(::recv(healthy[0], &byte, 1, 0) == 1);
    for (const int socket : {silent[0], silent[1], healthy[0], healthy[1]}) ::close(socket);
  }

  TEST_CASE("watch: a socket that is closed meanwhile is not mistaken for its successor") {
    std::array<int, 2> first{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first.data()) == 0);
    SocketWatchdog watchdog;
    std::optional<SocketWatchdog::Watch> watch(watchdog.watch(first[0], Duration(100)));
    ::close(first[0]);
    std::array<int, 2> second{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second.data()) == 0);
    char byte = 0;
    // Ends when the watch has shut its own descriptor of the first pair down.
    CHECK(::recv(first[1], &byte, 1, 0) == 0);
    CHECK(::send(second[0], "x", 1, MSG_NOSIGNAL) == 1);
    CHECK(::recv(second[1], &byte, 1, 0) == 1);
    watch.reset();
    for (const int socket : {first[1], second[0], second[1]}) ::close(socket);
  }
}

}  // namespace headgate
