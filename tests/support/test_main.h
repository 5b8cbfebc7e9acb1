// Shared by all test programs: skips that are seen, and waiting without sleeping for a fixed time.
#pragma once

// Each assertion is one call, so that tests compile faster.
#define DOCTEST_CONFIG_SUPER_FAST_ASSERTS
#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <string>

namespace headgate::testing {

// Marks the running case as skipped with a reason; with CI=true it fails the case instead. Use through HG_SKIP.
void skip_case(const std::string& reason);

// Notes that this program ran against a real server, e.g. "postgresql 15.18". Shown in the summary of the test command.
void used_server(const std::string& server);

// Polls until the predicate holds; false when `timeout` is over.
bool wait_until(const std::function<bool()>& predicate,
                std::chrono::milliseconds timeout = std::chrono::milliseconds(10'000));

}  // namespace headgate::testing

#define HG_SKIP(reason)                     \
  do {                                      \
    ::headgate::testing::skip_case(reason); \
    return;                                 \
  } while (false)
