// TLS from the relay to the engine: certificates of both sides, and new ones while both run.
#include <filesystem>

#include "tests/robustness/pressure.h"
#include "tests/support/engine_session.h"

TEST_SUITE("robustness/tls") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  bool openssl(const std::vector<std::string>& arguments) {
    Process::Options options{.argv = {"openssl"}};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    Process process(options);
    return process.wait(20s) && process.exit_code() == 0;
  }

  // An authority with a certificate for the engine and one for a relay, as files of one folder.
  struct Authority {
    explicit Authority(const std::string& path) : folder(path) {
      std::filesystem::create_directories(folder);
      write_file(folder + "/names", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
      made = openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                      "2", "-subj", "/CN=authority", "-keyout", folder + "/ca.key", "-out", folder + "/ca.pem"}) &&
             sign("engine") && sign("relay");
    }
    bool sign(const std::string& name) const {
      const std::string path = folder + "/" + name;
      return openssl({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                      "/CN=" + name, "-keyout", path + ".key", "-out", path + ".csr"}) &&
             openssl({"x509", "-req", "-in", path + ".csr", "-CA", folder + "/ca.pem", "-CAkey", folder + "/ca.key",
                      "-CAcreateserial", "-days", "2", "-extfile", folder + "/names", "-out", path + ".pem"});
    }

    std::string folder;
    bool made = false;
  };

  // What the engine reads; replaced as a tool for certificates does.
  void install(const Authority& authority, const std::string& folder) {
    std::filesystem::create_directories(folder);
    for (const auto& [from, to] :
         {std::pair("engine.pem", "cert.pem"), {"engine.key", "key.pem"}, {"ca.pem", "ca.pem"}}) {
      std::filesystem::copy_file(authority.folder + "/" + from, folder + "/" + to + ".new");
      std::filesystem::rename(folder + "/" + to + ".new", folder + "/" + to);
    }
  }

  // One relay with a file sink, and the certificates it has.
  struct Relay {
    Relay(const std::string& folder, const std::string& name, const EngineProgram& engine, const std::string& tls)
        : program(folder, name,
                  "upstream:\n  address: " + engine.address() + "\n  backoff:\n    max: 500ms\n" + tls +
                      "tenants:\n  start: earliest\ntokens:\n  sqlite:\n    path: " + folder + "/" + name +
                      ".db\nsinks:\n  - name: file\n    kind: file\n    path: " + folder + "/" + name + ".jsonl\n"),
          file(subscribe_file(folder + "/" + name + ".jsonl")) {}
    json upstream() const { return json::parse(program.status())["upstream"]; }

    RelayProgram program;
    std::unique_ptr<Subscriber> file;
  };

  std::string tls_of(const Authority& trusted, const Authority* own) {
    std::string text =
        "  tls:\n    enabled: true\n    server_name: localhost\n    ca_file: " + trusted.folder + "/ca.pem\n";
    if (own != nullptr) {
      text += "    cert_file: " + own->folder + "/relay.pem\n    key_file: " + own->folder + "/relay.key\n";
    }
    return text;
  }

  void expect_no_way(Relay & relay) {
    relay.program.launch();
    CHECK(wait_until(
        [&] {
          if (!http_get(relay.program.admin_port(), "/livez")) return false;
          const json upstream = relay.upstream();
          return upstream.is_object() && upstream["state"] == "waiting" &&
                 !upstream["last_error"].get<std::string>().empty();
        },
        20s));
    CHECK_FALSE(http_get(relay.program.admin_port(), "/readyz").has_value());
    CHECK(relay.file->count() == 0);
    relay.program.kill();
  }

  TEST_CASE(
      "tls: a relay with the right certificates is served, others are not, and new certificates come into force") {
    HG_POSTGRES(database);
    if (find_program("openssl").empty()) HG_SKIP("no openssl program to make certificates with");
    const TempFolder folder("headgate-tls");
    const Authority first(folder.path() + "/first"), second(folder.path() + "/second");
    REQUIRE(first.made);
    REQUIRE(second.made);
    const std::string live = folder.path() + "/live";
    install(first, live);
    EngineProgram engine(folder.path(),
                         {.database_uri = database->uri(),
                          .more_yaml = "tls:\n  certificate: " + live + "/cert.pem\n  key: " + live +
                                       "/key.pem\n  client_ca: " + live + "/ca.pem\n  reload_interval: 1s\n"});
    engine.start();
    EngineSession writer(database->uri());
    writer.write("t", "1");

    Relay good(folder.path(), "good", engine, tls_of(first, &first));
    good.program.start();
    CHECK(good.file->wait_for(1, 20s));
    Relay without(folder.path(), "without", engine, tls_of(first, nullptr));
    expect_no_way(without);
    Relay wrong_own(folder.path(), "wrong-own", engine, tls_of(first, &second));
    expect_no_way(wrong_own);
    Relay wrong_trust(folder.path(), "wrong-trust", engine, tls_of(second, &first));
    expect_no_way(wrong_trust);
    Relay plain(folder.path(), "plain", engine, "");
    expect_no_way(plain);

    install(second, live);
    Relay renewed(folder.path(), "renewed", engine, tls_of(second, &second));
    renewed.program.launch();
    CHECK(renewed.file->wait_for(1, 30s));
    writer.write("t", "2");
    CHECK(renewed.file->wait_for(2, 20s));
    // A stream that stands is not cut.
    CHECK(good.file->wait_for(2, 20s));
    good.program.stop();
    Relay old(folder.path(), "old", engine, tls_of(first, &first));
    expect_no_way(old);
    print_logs_on_failure(folder.path());
  }
}
