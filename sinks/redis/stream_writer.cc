#include "sinks/redis/stream_writer.h"

#include <algorithm>
#include <tuple>

#include "base/redis/errors.h"

namespace headgate::sinks {

Status StreamWriter::load(Connection& connection, std::stop_token stop) {
  transactions_.opened();
  return scripts_.load(connection, stop);
}

void StreamWriter::run(StreamBatch& batch, std::stop_token stop) {
  const MonotonicTime deadline = std::chrono::steady_clock::now() + client_.settings().command_timeout;
  find_servers(batch, stop);
  for (bool first = true;; first = false) {
    send(batch, first, stop);
    const Next next = follow(batch, stop);
    if (next == Next::kDone || std::chrono::steady_clock::now() > deadline) return;
    if (next == Next::kWait && !system_clock().sleep(kMovingPause, stop)) return;
  }
}

void StreamWriter::find_servers(StreamBatch& batch, std::stop_token stop) {
  for (TenantRun& run : batch.runs()) {
    if (run.next >= run.end) continue;
    if (client_.is_cluster()) run.slot = redis::slot_of(run.keys.stream);
    const auto connection = client_.of_key(run.keys.stream, stop);
    if (connection.ok()) {
      run.connection = *connection;
    } else {
      batch.set(run, run.next, run.end, connection.status());
    }
  }
  const auto place = [](const TenantRun& run) { return std::tuple(run.connection, run.slot); };
  if (!client_.is_cluster()) return;
  std::stable_sort(batch.runs().begin(), batch.runs().end(),
                   [&](const TenantRun& a, const TenantRun& b) { return place(a) < place(b); });
}

void StreamWriter::send(StreamBatch& batch, bool first, std::stop_token stop) {
  std::vector<TenantRun>& runs = batch.runs();
  for (auto begin = runs.begin(); begin != runs.end();) {
    Connection* const connection = begin->connection;
    const auto end =
        std::find_if(begin, runs.end(), [&](const TenantRun& run) { return run.connection != connection; });
    const std::span<TenantRun> same(begin, end);
    begin = end;
    if (connection == nullptr) continue;
    const Status status = first ? transactions_.run(batch, same, *connection, stop) : ok_status();
    if (status.ok()) {
      scripts_.run(batch, same, *connection, stop);
    } else {
      for (const TenantRun& run : same) batch.set(run, run.next, run.end, status);
    }
  }
}

StreamWriter::Next StreamWriter::follow(StreamBatch& batch, std::stop_token stop) {
  Next next = Next::kDone;
  for (TenantRun& run : batch.runs()) {
    if (run.elsewhere.empty() || !client_.is_cluster()) {
      run.connection = nullptr;
      continue;
    }
    const bool again = run.elsewhere.substr(0, 8) == "TRYAGAIN";
    if (!again && !follow(batch, run, stop)) {
      // Whoever opens asks what is there, before anything is sent to a master that may know less than the last one.
      client_.close();
      return Next::kDone;
    }
    // ASK is for one command; what comes behind it goes by the map again.
    if (again) run.asking = false;
    if (again && next == Next::kDone) next = Next::kWait;
    if (!again) next = Next::kAgain;
    run.elsewhere.clear();
  }
  return next;
}

bool StreamWriter::follow(StreamBatch& batch, TenantRun& run, std::stop_token stop) {
  const auto redirect = redis::redirect_of(run.elsewhere);
  if (!redirect || !client_.follow(run.elsewhere, *run.connection, stop)) return false;
  redis::Address to = redirect->to;
  if (to.host.empty()) to.host = run.connection->address().host;
  run.asking = redirect->ask;
  const auto connection = client_.at(to, stop);
  if (!connection.ok()) {
    batch.set(run, run.next, run.end, connection.status());
    return false;
  }
  run.connection = *connection;
  return true;
}

}  // namespace headgate::sinks
