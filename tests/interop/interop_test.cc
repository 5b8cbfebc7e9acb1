// Permify's own Node client, unchanged from the npm registry, drives the engine.
#include <filesystem>

#include "tests/support/world.h"

TEST_SUITE("interop/permify_node") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  namespace fs = std::filesystem;

  // The client's packages, fetched once into the build folder; "" or why they are not there.
  std::string install_client(const std::string& folder) {
    if (find_program("node").empty() || find_program("npm").empty()) return "no node or npm on this machine";
    fs::create_directories(folder);
    for (const char* file : {"package.json", "package-lock.json", "interop.js"}) {
      fs::copy_file(std::string(HEADGATE_SOURCE_DIR "/tests/interop/permify_node/") + file, folder + "/" + file,
                    fs::copy_options::overwrite_existing);
    }
    const std::string lock = read_file(folder + "/package-lock.json");
    if (read_file(folder + "/installed") == lock) return "";
    const std::string log = folder + "/npm.log";
    fs::remove(log);
    Process npm(
        {.argv = {"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder}, .log_file = log});
    if (!npm.wait(120s) || npm.exit_code() != 0) return "npm could not fetch the client:\n" + read_file(log);
    write_file(folder + "/installed", lock);
    return "";
  }

  TEST_CASE("node client: schema, data, deletes, bundles and Watch work unchanged") {
    const std::string folder = HEADGATE_INTEROP_FOLDER;
    if (const std::string missing = install_client(folder); !missing.empty()) HG_SKIP(missing);
    HG_WORLD(world, {.sinks = {}});
    const std::string log = world->folder() + "/node.log";
    Process node({.argv = {"node", folder + "/interop.js", world->engine().address()}, .log_file = log});
    const bool ended = node.wait(90s);
    const std::string output = read_file(log);
    CHECK_MESSAGE((ended && node.exit_code() == 0), output);
    CHECK_MESSAGE(output.find("ok ") != std::string::npos, output);
    used_server("permify-node 1.7.3");
  }
}
