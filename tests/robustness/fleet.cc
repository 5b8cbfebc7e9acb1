#include "tests/robustness/fleet.h"

#include <algorithm>
#include <sstream>

#include "tests/support/engine_session.h"

namespace headgate::testing {

namespace {

std::string variable_of(std::string name) {
  for (char& c : name) c = c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return "HEADGATE_ENGINE_" + name;
}

bool reached(const WatchReader& reader, uint64_t last) {
  const std::vector<base::v1::DataChanges> messages = reader.messages();
  if (messages.empty()) return false;
  const SeenMessage end = seen(reader.tenant(), messages.back());
  return !end.more_parts && end.xid >= last;
}

}  // namespace

std::unique_ptr<Fleet> Fleet::create() {
  auto database = PostgresDatabase::create();
  if (database == nullptr) {
    skip_case("no PostgreSQL server binaries (initdb, postgres) on this machine");
    return nullptr;
  }
  auto fleet = std::make_unique<Fleet>(database->uri());
  fleet->database_ = std::move(database);
  return fleet;
}

Fleet::Fleet(std::string uri) : uri_(std::move(uri)), folder_("headgate-fleet") {}

Fleet::~Fleet() {
  for (const auto& pod : pods_) pod->program.kill();
  pods_.clear();
  print_logs_on_failure(folder_.path());
}

Pod& Fleet::start(const EngineValues& values, const std::string& guards_off) {
  EngineValues all = {{"watch.opens_per_second", "100000"}, {"watch.opens_burst", "100000"}};
  for (const auto& [name, value] : values) all[name] = value;
  EngineOptions options{.database_uri = uri_, .name = "engine" + std::to_string(pods_.size() + 1)};
  for (const auto& [name, value] : all) options.env[variable_of(name)] = value;
  if (!guards_off.empty()) options.env["HEADGATE_GUARDS_OFF"] = guards_off;
  pods_.push_back(std::make_unique<Pod>(Pod{EngineProgram(folder_.path(), options), nullptr}));
  Pod& pod = *pods_.back();
  pod.program.start();
  pod.client = std::make_unique<EngineClient>(pod.program.address());
  return pod;
}

void Fleet::add_tenants(const std::string& prefix, int count) {
  EngineSession(uri_).run("INSERT INTO tenants (id, name) SELECT '" + prefix + "' || g, '' FROM generate_series(1, " +
                          std::to_string(count) + ") g");
}

double metric_of(int admin_port, const std::string& name) {
  const auto text = http_get(admin_port, "/metrics");
  if (!text) return -1;
  double sum = 0;
  bool found = false;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const bool ours = line.rfind(name, 0) == 0 && (line[name.size()] == ' ' || line[name.size()] == '{');
    if (!ours) continue;
    sum += std::strtod(line.c_str() + line.rfind(' '), nullptr);
    found = true;
  }
  return found ? sum : -1;
}

void let_it_look(const Pod& pod) {
  const std::string polls = "headgate_engine_feed_polls_total";
  const double before = metric_of(pod.program, polls);
  REQUIRE(before >= 0);
  REQUIRE(wait_until([&] { return metric_of(pod.program, polls) >= before + 2; }, std::chrono::seconds(20)));
}

bool wait_for_all(const WatchReader& reader, const Truth& truth, std::chrono::milliseconds timeout) {
  const auto known = truth.find(reader.tenant());
  if (known == truth.end() || count_behind(truth, reader.tenant(), reader.start_token()) == 0) return true;
  const uint64_t last = known->second.back().xid;
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!reached(reader, last)) {
    const size_t count = reader.count();
    if (std::chrono::steady_clock::now() > end || reader.wait_end(std::chrono::milliseconds(0))) {
      return reached(reader, last);
    }
    reader.wait_for(count + 1, std::chrono::milliseconds(200));
  }
  return true;
}

StreamEnd end_of(const WatchReader& reader, std::chrono::steady_clock::time_point since,
                 std::chrono::milliseconds timeout) {
  StreamEnd end;
  end.ended = reader.wait_end(timeout);
  end.messages = reader.count();
  if (!end.ended) return end;
  const grpc::Status status = reader.status();
  end.code = status.error_code();
  end.reason = error_reason(status);
  end.waited_ms = std::chrono::duration<double, std::milli>(reader.ended_at() - since).count();
  const auto hint = retry_hint(status);
  end.retry_ms = hint ? static_cast<double>(hint->count()) : -1;
  return end;
}

std::string check_readers(const Truth& truth, const std::vector<const WatchReader*>& readers,
                          std::chrono::milliseconds timeout) {
  std::vector<SeenMessage> longest;
  for (size_t i = 0; i < readers.size(); ++i) {
    const std::string name = "stream " + std::to_string(i) + ": ";
    wait_for_all(*readers[i], truth, timeout);
    if (readers[i]->wait_end(std::chrono::milliseconds(0))) return name + readers[i]->status().error_message();
    const auto messages = readers[i]->messages();
    const std::string fault = check_stream(truth, readers[i]->tenant(), readers[i]->start_token(), messages);
    if (!fault.empty()) return name + fault;
    std::vector<SeenMessage> history = seen(readers[i]->tenant(), messages);
    if (history.size() > longest.size()) std::swap(history, longest);
    const auto same_stretch = longest.end() - static_cast<std::ptrdiff_t>(history.size());
    const std::string other = check_same({same_stretch, longest.end()}, history);
    if (!other.empty()) return name + other;
  }
  return "";
}

}  // namespace headgate::testing
