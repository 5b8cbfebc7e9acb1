#include "base/settings_changes.h"

#include <filesystem>
#include <fstream>

#include "tests/support/test_main.h"

namespace headgate {
namespace {

struct Changing {
  std::string name, password, topic;
  std::map<std::string, std::string> options;
};

struct World {
  std::string level = "info", format = "text", uri = "a:1", certificate;
  std::vector<std::string> keys{"k1"};
  std::vector<Changing> parts{{"one", "p1", "t1", {}}, {"two", "p2", "t2", {}}};
};

DescribeSettings describing(World& w) {
  return [&w](Settings& s) {
    s.section("log", [&] {
      s.text("level", w.level, "");
      s.text("format", w.format, "");
    });
    s.secret("uri", w.uri, "");
    s.text("certificate", w.certificate, "");
    s.secret_list("keys", w.keys, "");
    s.sections("parts", w.parts, [](Settings& inner, Changing& part) {
      inner.text("name", part.name, "");
      inner.secret("password", part.password, "");
      inner.text("topic", part.topic, "");
      inner.map("options", part.options, "");
    });
  };
}

ReloadRules rules() {
  return {.keys = {"log.level", "uri", "keys", "certificate", "parts.*.password", "parts.*.options"},
          .files = {"certificate", "parts.*.options"},
          .identity = {"parts.*.name"},
          .allows = [](const std::string& path, const std::string& before, const std::string& after) {
            return path != "uri" || before[0] == after[0];
          }};
}

using Names = std::vector<std::string>;

struct Rig {
  World in_force;
  SettingsInForce settings{rules(), describing(in_force)};
  SettingsChanges take(World fresh) { return settings.take_over(describing(in_force), describing(fresh)); }
};

}  // namespace

TEST_SUITE("base/settings_changes") {
  TEST_CASE("changes: what can be taken over is, and the rest is named until the next start") {
    Rig rig;
    World fresh;
    CHECK(rig.take(fresh).taken.empty());
    fresh.level = "debug";
    fresh.format = "json";
    fresh.keys = {"k1", "k2"};
    fresh.parts[1].password = "new";
    fresh.parts[1].topic = "other";
    SettingsChanges changes = rig.take(fresh);
    CHECK(changes.taken == Names{"keys", "log.level", "parts.1.password"});
    CHECK(changes.restart == Names{"log.format", "parts.1.topic"});
    CHECK(rig.in_force.level == "debug");
    CHECK(rig.in_force.format == "text");
    CHECK(rig.in_force.keys == Names{"k1", "k2"});
    CHECK(rig.in_force.parts[1].password == "new");
    CHECK(rig.in_force.parts[1].topic == "t2");
    changes = rig.take(fresh);
    CHECK(changes.taken.empty());
    CHECK(changes.restart == Names{"log.format", "parts.1.topic"});
  }

  TEST_CASE("changes: another element of a list is named as a whole, and nothing of it is taken") {
    Rig rig;
    World fresh;
    fresh.parts[0] = {"three", "p3", "t3", {}};
    fresh.parts.push_back({"four", "p4", "t4", {}});
    const SettingsChanges changes = rig.take(fresh);
    CHECK(changes.taken.empty());
    CHECK(changes.restart == Names{"parts.0", "parts.2"});
    CHECK(rig.in_force.parts[0].password == "p1");
    CHECK(rig.in_force.parts.size() == 2);
  }

  TEST_CASE("changes: a rule over both values may refuse to take one over") {
    Rig rig;
    World fresh;
    fresh.uri = "a:2";
    CHECK(rig.take(fresh).taken == Names{"uri"});
    fresh.uri = "b:2";
    CHECK(rig.take(fresh).restart == Names{"uri"});
    CHECK(rig.in_force.uri == "a:2");
  }

  TEST_CASE("changes: a file with another content is a change, where its name stands in an option as well") {
    std::string folder = (std::filesystem::temp_directory_path() / "headgate-changes-XXXXXX").string();
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    const auto write = [&](const char* name, const char* text) { std::ofstream(folder + name) << text; };
    write("/cert.pem", "one");
    write("/ca.pem", "one");
    World world;
    world.certificate = folder + "/cert.pem";
    world.parts[0].options = {{"ssl.ca.location", folder + "/ca.pem"}};
    SettingsInForce settings(rules(), describing(world));
    World fresh = world;
    const auto take = [&] { return settings.take_over(describing(world), describing(fresh)).taken; };
    CHECK(take().empty());
    write("/cert.pem", "two");
    CHECK(take() == Names{"certificate"});
    CHECK(take().empty());
    write("/ca.pem", "two");
    CHECK(take() == Names{"parts.0.options"});
    std::filesystem::remove_all(folder);
  }
}

}  // namespace headgate
