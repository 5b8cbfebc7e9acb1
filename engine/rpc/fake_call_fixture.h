// A call as tests make it: the fields say what it tells.
#pragma once

#include <map>
#include <string>

#include "engine/rpc/call.h"

namespace headgate::engine {

struct FakeCall : Call {
  std::string peer() const override { return "ipv4:10.0.0.1:4711"; }
  std::string_view metadata(std::string_view name) const override {
    const auto found = given.find(std::string(name));
    return found == given.end() ? std::string_view() : std::string_view(found->second);
  }
  Time deadline() const override { return until; }
  std::stop_token cancellation() const override { return cancelled.get_token(); }
  void add_trailer(const std::string& name, const std::string& value) override { trailers[name] = value; }

  std::map<std::string, std::string> given;  // by names in lower case
  Time until = Time::max();
  std::stop_source cancelled;
  std::map<std::string, std::string> trailers;
};

}  // namespace headgate::engine
