// The course of every test in which one sink comes to a limit while events keep coming: the relay's memory stays
// bounded, the other sink is not slowed, the error can be seen, and nothing is lost once the limit is gone.
#pragma once

#include <functional>
#include <string>

#include "tests/robustness/pressure.h"
#include "tests/support/subscribers.h"

namespace headgate::testing {

struct Limit {
  std::string sink;   // the one that comes to a limit
  std::string other;  // one that does not
  std::function<void()> begin{};
  std::function<void()> end{};
  std::string error;  // what /status and the log must say of it ...
  std::string help;   // ... and what helps
};

// Settings that the sinks and the relay of such a test need, so that the limits are small beside what is written.
extern const char* const kSmallSink;
extern const char* const kSmallRelay;

// `hit` and `other` are the readers of the two sinks. Checks as doctest does.
void survive(World& world, RelayProgram& relay, Subscriber& hit, Subscriber& other, const Limit& limit);

}  // namespace headgate::testing
