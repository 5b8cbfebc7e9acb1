#include "base/settings.h"

#include <cstdio>
#include <fstream>

#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate {
namespace {

enum class Colour { kRed, kBlue };

struct Part {
  std::string kind = "log";
  std::map<std::string, std::string> options;
};

struct Example {
  std::string name = "x";
  std::string password;
  bool on = false;
  int port = 80;
  uint32_t small = 1;
  double ratio = 0.5;
  std::chrono::milliseconds wait{100};
  size_t buffer = 1024;
  Colour colour = Colour::kRed;
  std::vector<std::string> hosts;
  std::vector<std::string> keys;
  std::vector<Part> parts;
};

void describe(Settings& s, Example& e) {
  s.text("name", e.name, "a name");
  s.secret("password", e.password, "a secret");
  s.section("net", [&] {
    s.flag("on", e.on, "a switch");
    s.integer("port", e.port, "a port", 0, 65535);
    s.integer("small", e.small, "a number");
    s.real("ratio", e.ratio, "a ratio", 0, 1);
    s.duration("wait", e.wait, "a time");
    s.bytes("buffer", e.buffer, "a size", 16);
    s.require(e.port != 25, "port", "must not be the mail port");
  });
  s.choice("colour", e.colour, {{"red", Colour::kRed}, {"blue", Colour::kBlue}}, "a colour");
  s.list("hosts", e.hosts, "some hosts");
  s.secret_list("keys", e.keys, "some keys");
  s.sections("parts", e.parts, [](Settings& inner, Part& part) {
    inner.choice("kind", part.kind, {"log", "kafka"}, "what it is");
    inner.map("options", part.options, "passed on");
  });
}

Status load(Example& e, const std::string& yaml, std::map<std::string, std::string> environment = {},
            std::vector<std::string>* warnings = nullptr) {
  SettingsSource source;
  source.env_prefix = "HG";
  source.environment = std::move(environment);
  return load_settings_text([&](Settings& s) { describe(s, e); }, "f.yaml", yaml, source, warnings);
}

struct ValidCase {
  const char* yaml;
  const char* variable;
  const char* value;
  std::function<bool(const Example&)> holds;
};

const std::vector<ValidCase>& valid_cases() {
  static const std::vector<ValidCase> cases = {
      {"name: water", "HG_NAME", "water", [](const Example& e) { return e.name == "water"; }},
      {"name: ''", "HG_NAME", "", [](const Example& e) { return e.name.empty(); }},
      {"password: p,1", "HG_PASSWORD", "p,1", [](const Example& e) { return e.password == "p,1"; }},
      {"net: {on: true}", "HG_NET_ON", "true", [](const Example& e) { return e.on; }},
      {"net: {on: yes}", "HG_NET_ON", "yes", [](const Example& e) { return e.on; }},
      {"net: {port: 0}", "HG_NET_PORT", "0", [](const Example& e) { return e.port == 0; }},
      {"net: {small: 4294967295}", "HG_NET_SMALL", "4294967295",
       [](const Example& e) { return e.small == 4294967295u; }},
      {"net: {ratio: 0.25}", "HG_NET_RATIO", "0.25", [](const Example& e) { return e.ratio == 0.25; }},
      {"net: {wait: 250ms}", "HG_NET_WAIT", "250ms", [](const Example& e) { return e.wait.count() == 250; }},
      {"net: {wait: 1h30m}", "HG_NET_WAIT", "1h30m", [](const Example& e) { return e.wait.count() == 5'400'000; }},
      {"net: {wait: 1.5s}", "HG_NET_WAIT", "1.5s", [](const Example& e) { return e.wait.count() == 1500; }},
      {"net: {wait: 0}", "HG_NET_WAIT", "0", [](const Example& e) { return e.wait.count() == 0; }},
      {"net: {buffer: 16MiB}", "HG_NET_BUFFER", "16MiB", [](const Example& e) { return e.buffer == 16u << 20; }},
      {"net: {buffer: 10MB}", "HG_NET_BUFFER", "10MB", [](const Example& e) { return e.buffer == 10'000'000; }},
      {"net: {buffer: 512}", "HG_NET_BUFFER", "512", [](const Example& e) { return e.buffer == 512; }},
      {"colour: blue", "HG_COLOUR", "blue", [](const Example& e) { return e.colour == Colour::kBlue; }},
      {"hosts: [a, b]", "HG_HOSTS", "a, b",
       [](const Example& e) {
         return e.hosts == std::vector<std::string>{"a", "b"};
       }},
      {"hosts: a,b", "HG_HOSTS", "a,b", [](const Example& e) { return e.hosts.size() == 2; }},
      {"hosts: ['a,b', c]", "HG_HOSTS", R"(["a,b", "c"])",
       [](const Example& e) {
         return e.hosts == std::vector<std::string>{"a,b", "c"};
       }},
      {"parts: [{options: {a: 'x,y', b: z}}]", "HG_PARTS_0_OPTIONS", R"({a: "x,y", b: z})",
       [](const Example& e) { return e.parts[0].options.at("a") == "x,y" && e.parts[0].options.at("b") == "z"; }},
      {"hosts: []", "HG_HOSTS", "", [](const Example& e) { return e.hosts.empty(); }},
      {"keys: [k]", "HG_KEYS", "k", [](const Example& e) { return e.keys == std::vector<std::string>{"k"}; }},
      {"parts: [{kind: kafka}]", "HG_PARTS_0_KIND", "kafka",
       [](const Example& e) { return e.parts.size() == 1 && e.parts[0].kind == "kafka"; }},
      {"parts: [{options: {acks: all}}]", "HG_PARTS_0_OPTIONS", "acks=all",
       [](const Example& e) { return e.parts.size() == 1 && e.parts[0].options.at("acks") == "all"; }},
      {"name: ${HOME_TOWN}", "HG_NAME", "${HOME_TOWN}", [](const Example& e) { return e.name == "Delft"; }},
      {"name: $${x}", "HG_NAME", "$${x}", [](const Example& e) { return e.name == "${x}"; }},
      {"net:\n", "OTHER", "", [](const Example& e) { return e.port == 80; }},
  };
  return cases;
}

struct InvalidCase {
  const char* yaml;
  const char* variable;  // null: only a file can have this fault
  const char* value;
  const char* fault;  // contained in the message
};

const std::vector<InvalidCase>& invalid_cases() {
  static const std::vector<InvalidCase> cases = {
      {"net: {on: maybe}", "HG_NET_ON", "maybe", "net.on: 'maybe' is neither true nor false"},
      {"net: {port: 70000}", "HG_NET_PORT", "70000", "net.port: '70000' is not between 0 and 65535"},
      {"net: {port: ten}", "HG_NET_PORT", "ten", "net.port: 'ten' is not a whole number"},
      {"net: {port: 25}", "HG_NET_PORT", "25", "net.port must not be the mail port"},
      {"net: {small: -1}", "HG_NET_SMALL", "-1", "net.small: '-1' is not between"},
      {"net: {ratio: 2}", "HG_NET_RATIO", "2", "net.ratio: '2' is not between 0 and 1"},
      {"net: {wait: 5}", "HG_NET_WAIT", "5", "net.wait: '5' is not a duration"},
      {"net: {wait: -5s}", "HG_NET_WAIT", "-5s", "net.wait: '-5s' is not a duration"},
      {"net: {wait: 1h300000000m}", "HG_NET_WAIT", "1h300000000m", "net.wait: '1h300000000m' is not a duration"},
      {"net: {wait: 5us}", "HG_NET_WAIT", "5us", "net.wait: '5us' is finer than 1ms"},
      {"net: {buffer: 3}", "HG_NET_BUFFER", "3", "net.buffer: '3' is not between 16 and"},
      {"net: {buffer: 3XB}", "HG_NET_BUFFER", "3XB", "net.buffer: '3XB' is not a size"},
      {"colour: green", "HG_COLOUR", "green", "colour: 'green' is not one of red, blue"},
      {"parts: [{kind: x}]", "HG_PARTS_0_KIND", "x", "parts.0.kind: 'x' is not one of log, kafka"},
      {"name: ${NOBODY}", "HG_NAME", "${NOBODY}", "the environment has no variable 'NOBODY'"},
      {"password: file:/no/such/file", "HG_PASSWORD", "file:/no/such/file", "cannot read the file '/no/such/file'"},
      {"parts: [{options: x}]", "HG_PARTS_0_OPTIONS", "x", "parts.0.options must be name=value"},
      {"", "HG_PARTS_2_KIND", "log", "parts has no element 0"},
      {"", "HG_HOSTS", "[a, b", "hosts must be a list: [\"a\", \"b\"] as in YAML, or a,b"},
      {"", "HG_HOSTS", "[[a]]", "hosts must be a list"},
      {"", "HG_PARTS_0_OPTIONS", "{a", "parts.0.options must be a map"},
      {"", "HG_NAME_FILE", "/no/such/file", "name: cannot read the file '/no/such/file'"},
      {"nme: a", nullptr, nullptr, "f.yaml:1:1: unknown key nme; did you mean 'name'?"},
      {"net:\n  prot: 1", nullptr, nullptr, "f.yaml:2:3: unknown key net.prot; did you mean 'port'?"},
      {"zebra: 1", nullptr, nullptr, "f.yaml:1:1: unknown key zebra"},
      {"name: a\nname: b", nullptr, nullptr, "f.yaml:2:1: name is there twice"},
      {"net: 5", nullptr, nullptr, "net must be a section with keys"},
      {"name: [a]", nullptr, nullptr, "name must be a single value"},
      {"parts: {kind: log}", nullptr, nullptr, "parts must be a list of sections"},
      {"parts: [{knd: log}]", nullptr, nullptr, "unknown key parts.0.knd; did you mean 'kind'?"},
      {"hosts: {a: b}", nullptr, nullptr, "hosts must be a list"},
      {"name: [", nullptr, nullptr, "not valid YAML"},
      {"- a", nullptr, nullptr, "the file must be a section with keys"},
      {"name: a\n---\nname: b", nullptr, nullptr, "more than one YAML document"},
  };
  return cases;
}

}  // namespace

TEST_SUITE("base/settings") {
  TEST_CASE("settings: valid values are read from a file and from the environment alike") {
    for (const ValidCase& c : valid_cases()) {
      CAPTURE(c.yaml);
      Example from_file;
      const Status file = load(from_file, c.yaml, {{"HOME_TOWN", "Delft"}});
      CHECK_MESSAGE(file.ok(), describe(file));
      CHECK(c.holds(from_file));
      Example from_environment;
      const Status environment = load(from_environment, "", {{"HOME_TOWN", "Delft"}, {c.variable, c.value}});
      CHECK_MESSAGE(environment.ok(), describe(environment));
      CHECK(c.holds(from_environment));
    }
  }

  TEST_CASE("settings: invalid values are refused with the same text from a file and from the environment") {
    for (const InvalidCase& c : invalid_cases()) {
      CAPTURE(c.yaml);
      if (c.yaml[0] != '\0') {
        Example e;
        const std::string text = message_of(load(e, c.yaml));
        CAPTURE(text);
        CHECK(text.find(c.fault) != std::string::npos);
        CHECK(text.rfind("f.yaml", 0) == 0);
      }
      if (c.variable != nullptr) {
        Example e;
        const std::string text = message_of(load(e, "", {{c.variable, c.value}}));
        CAPTURE(text);
        CHECK(text.find(c.fault) != std::string::npos);
        CHECK(text.rfind("HG_", 0) == 0);
      }
    }
  }

  TEST_CASE("settings: all faults are reported at once") {
    Example e;
    const std::string text = message_of(load(e, "nme: a\nnet: {port: x}\ncolour: green", {{"HG_NET_WAIT", "soon"}}));
    CHECK(text.find("unknown key nme") != std::string::npos);
    CHECK(text.find("f.yaml:2:13: net.port") != std::string::npos);
    CHECK(text.find("colour") != std::string::npos);
    CHECK(text.find("HG_NET_WAIT") != std::string::npos);
  }

  TEST_CASE("settings: the environment wins over the file, the file over the default") {
    Example e;
    REQUIRE(load(e, "name: file\nnet: {port: 1}\nparts: [{kind: log}]",
                 {{"HG_NET_PORT", "2"}, {"HG_PARTS_0_KIND", "kafka"}, {"HG_PARTS_1_KIND", "log"}})
                .ok());
    CHECK(e.name == "file");
    CHECK(e.port == 2);
    CHECK(e.ratio == 0.5);
    REQUIRE(e.parts.size() == 2);
    CHECK(e.parts[0].kind == "kafka");
  }

  TEST_CASE("settings: a secret is read from a file without its last newline") {
    const std::string path = "/tmp/headgate_settings_test_secret";
    std::ofstream(path) << "s3cret\n";
    Example e;
    REQUIRE(load(e, "password: file:" + path + "\nkeys: ['file:" + path + "', b]").ok());
    CHECK(e.password == "s3cret");
    CHECK(e.keys == std::vector<std::string>{"s3cret", "b"});
    std::remove(path.c_str());
  }

  TEST_CASE("settings: a variable with _FILE behind its name names a file with the value, taken as it is") {
    const testing::TempFolder folder;
    std::ofstream(folder.path() + "/password") << "s3cret ${x}\n";
    std::ofstream(folder.path() + "/keys") << "one,1\n\ntwo\n";
    Example e;
    std::vector<std::string> warnings;
    REQUIRE(load(e, "password: other",
                 {{"HG_PASSWORD_FILE", folder.path() + "/password"}, {"HG_KEYS_FILE", folder.path() + "/keys"}},
                 &warnings)
                .ok());
    CHECK(warnings.empty());
    CHECK(e.password == "s3cret ${x}");
    CHECK(e.keys == std::vector<std::string>{"one,1", "two"});
    const std::string both = message_of(load(e, "", {{"HG_NAME", "a"}, {"HG_NAME_FILE", folder.path() + "/keys"}}));
    CHECK(both == "HG_NAME_FILE: HG_NAME is set as well; keep one");
  }

  TEST_CASE("settings: what is wrong with a variable's name is told beside the faults") {
    Example e;
    std::vector<std::string> warnings;
    CHECK_FALSE(load(e, "net: {port: x}", {{"HG_NET_PROT", "1"}}, &warnings).ok());
    CHECK(warnings.size() == 1);
  }

  TEST_CASE("settings: printing hides every secret and reads back as the same settings") {
    Example e;
    e.name = "postgres://joe:hunter2@host/db?password=hunter2";
    e.password = "hunter2";
    e.keys = {"hunter2"};
    e.hosts = {"redis://:hunter2@cache:6379"};
    e.parts.push_back({"kafka", {{"sasl.password", "hunter2"}, {"acks", "all"}}});
    e.parts.push_back({"log", {}});
    e.port = 8080;
    e.wait = std::chrono::milliseconds(90'500);
    const std::string text = print_settings([&](Settings& s) { describe(s, e); });
    CAPTURE(text);
    CHECK(text.find("hunter2") == std::string::npos);
    CHECK(text.find("postgres://***@host/db") != std::string::npos);
    Example again;
    const Status status = load(again, text);
    CHECK_MESSAGE(status.ok(), describe(status));
    CHECK(again.port == 8080);
    CHECK(again.wait == e.wait);
    REQUIRE(again.parts.size() == 2);
    CHECK(again.parts[0].options.at("acks") == "all");
  }

  TEST_CASE("settings: a variable that belongs to no key is a warning, one that a cluster injects is not") {
    Example e;
    std::vector<std::string> warnings;
    REQUIRE(load(e, "", {{"HG_NET_PROT", "1"}, {"HG_WATCH_PORT", "tcp://10.0.0.1:80"}, {"HG_X_SERVICE_HOST", "h"}},
                 &warnings)
                .ok());
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0] == "the variable HG_NET_PROT belongs to no setting; did you mean HG_NET_PORT?");
  }

  TEST_CASE("settings: the reference names every key with its variable and default") {
    Example e;
    const std::string text = settings_reference([&](Settings& s) { describe(s, e); }, "HG");
    CHECK(text.find("| net.wait | HG_NET_WAIT | duration | `100ms` | a time |") != std::string::npos);
    CHECK(text.find("| parts.0.kind | HG_PARTS_0_KIND |") != std::string::npos);
  }

  TEST_CASE("settings: a missing file is an error that names it") {
    Example e;
    const Status status = load_settings([&](Settings& s) { describe(s, e); }, {.file = "/no/such.yaml"});
    CHECK(status.code() == StatusCode::kNotFound);
    CHECK(message_of(status).find("/no/such.yaml") != std::string::npos);
  }
}

}  // namespace headgate
