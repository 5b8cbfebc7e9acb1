// The same floods by TLS, with the same bounds.
#include "tests/robustness/http2_floods.h"
#include "tests/support/test_main.h"

using namespace headgate::testing;

TEST_SUITE("robustness/tls_floods") {
  TEST_CASE("tls floods: streams that are opened and reset at once, or left") {
    survive_flood(rapid_reset(), true);
    survive_flood(open_streams(), true);
  }

  TEST_CASE("tls floods: answers that nobody reads") {
    for (const HttpFlood& flood : pings_and_settings()) survive_flood(flood, true);
  }

  TEST_CASE("tls floods: frames that say nothing on a stream, or to nobody") {
    for (const HttpFlood& flood : empty_frames()) survive_flood(flood, true);
  }

  TEST_CASE("tls floods: headers that never end, and much metadata") {
    for (const HttpFlood& flood : endless_headers()) survive_flood(flood, true);
    survive_flood(much_metadata(), true);
  }
}
