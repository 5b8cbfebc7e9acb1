// The four examples as programs, an application that writes, and the comparison of all of it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/examples/install.h"
#include "tests/examples/judge.h"
#include "tests/support/world.h"

namespace headgate::testing::examples {

inline const std::vector<std::string> kTenants = {"acme", "globex"};

// A world with the sinks that the examples read, and a reader of one of them that the examples are judged by.
WorldOptions options_of(const std::string& on_gap);

// An example that cannot be installed is left out, loudly; the rest is still shown.
class Cast {
 public:
  explicit Cast(World& world);

  bool has(const std::string& name) const { return programs_.contains(name); }
  // "copy", "audit", "signal", "invalidator".
  Program& operator[](const std::string& name) { return *programs_.at(name); }
  void start();
  void kill_and_start(const std::string& name);

  // What they hold.
  nlohmann::json copy(const std::string& tenant) const;
  nlohmann::json signal() const { return read_json(file("signal")); }
  std::vector<nlohmann::json> audit() const { return read_json_lines(file("audit")); }
  nlohmann::json cache(const std::string& tenant) const;
  // How far one of them has come, as the sequence of an event that `said`, all events of JetStream, has. Sinks that
  // keep nothing have numbers of their own, so the signal client is found by its token.
  uint64_t place(const std::string& name, const std::string& tenant, const std::vector<Received>& said) const;

 private:
  std::string file(const std::string& name) const { return world_.folder() + "/" + name + ".json"; }
  void add(const std::string& name, const Installed& installed, const std::vector<std::string>& words);

  World& world_;
  std::map<std::string, std::unique_ptr<Program>> programs_;
};

// What happens at the engine. Names are made of numbers that are unique over all tenants.
class Application {
 public:
  explicit Application(World& world) : world_(world) {}

  // Shares, withdrawals, attributes that are set and set again.
  void work(const std::string& tenant, int steps);
  void work(int steps);  // in every tenant
  void remove(const std::string& tenant);
  // Returns the row that it writes: whoever has it has everything before.
  std::string mark(const std::string& tenant);
  // Caches what it reads, as fill.lua of the invalidator wants it.
  void fill_cache(const std::string& tenant, const std::vector<std::string>& entities);

 private:
  World& world_;
  int number_ = 0;
};

// The tenants are there, everybody listens, and the relay runs.
void begin(World& world, Cast& cast);
// Writes a last row to each tenant and waits until every example has come to it, `but` one that cannot.
void settle(World& world, const Cast& cast, Application& application, const std::string& but = "");
// Why the copy of a tenant says that something may be missing, as the beginning of that text.
using Incomplete = std::map<std::string, std::string>;
// What the examples hold is what the engine says; a copy that lacks what its sink refused is only asked whether it
// knows.
void compare(World& world, const Cast& cast, const Incomplete& incomplete = {});
// How many events of a kind, "dev.headgate.feed.gap.v1", the tenant has had.
size_t count_of(World& world, const std::string& tenant, const std::string& type);

}  // namespace headgate::testing::examples
