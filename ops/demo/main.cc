// headgate-demo: writes to the engine, listens at every sink, and judges. It is the client behind ops/quickstart.
//
// Commands on standard input, one a line; answers on standard output, ended by a line "@ok" or "@failed":
//   ready          every subscriber listens
//   setup          tenants, schema, first members; waits until they have arrived everywhere
//   write N        N changes, each shown with its token and how long it took to every sink
//   blind N        N changes, nobody waits for them
//   catch-up S     waits up to S seconds until everything written has arrived everywhere
//   verdict        a table; fails unless every change arrived once, in order, unchanged, at every sink
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>

#include "base/clock.h"
#include "base/status.h"
#include "ops/demo/demo.h"

int main(int argc, char** argv) {
  headgate::demo::Places places;
  CLI::App app("Writes changes through the engine and watches them arrive at every sink", "headgate-demo");
  app.add_option("--engine", places.engine, "host:port of the engine")->required();
  app.add_option("--kafka", places.kafka, "brokers; without it no Kafka subscriber");
  app.add_option("--kafka-topic", places.kafka_topic, "its topic");
  app.add_option("--redis", places.redis, "host:port");
  app.add_option("--redis-streams", places.redis_streams, "pattern of the streams' keys");
  app.add_option("--redis-channels", places.redis_channels, "pattern of the channels");
  app.add_option("--nats", places.nats, "host:port");
  app.add_option("--nats-stream", places.nats_stream, "name of the stream");
  app.add_option("--nats-stream-subject", places.nats_stream_subject, "subjects kept by JetStream");
  app.add_option("--nats-subject", places.nats_subject, "subjects of core NATS");
  app.add_option("--file", places.file, "the file that the relay appends to");
  CLI11_PARSE(app, argc, argv);
  headgate::demo::Demo demo(places);
  std::string line;
  while (std::getline(std::cin, line)) {
    const headgate::Status status = demo.run(line);
    if (!status.ok()) fmt::print("{}\n", headgate::describe(status));
    fmt::print("{}\n", status.ok() ? "@ok" : "@failed");
    std::fflush(stdout);
  }
  return 0;
}
