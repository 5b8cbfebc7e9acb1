#include "tests/examples/judge.h"
#include "tests/support/engine_stubs.h"

#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace headgate::testing {

namespace pb = ::base::v1;
using nlohmann::json;

namespace {

constexpr const char* kHeartbeat = "dev.headgate.feed.heartbeat.v1";

void demand(const grpc::Status& status, const std::string& what) {
  if (!status.ok()) throw std::runtime_error(what + ": " + status.error_message());
}

std::string json_of_value(const google::protobuf::Any& value) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(value, &text, options).ok()) throw std::runtime_error("no JSON");
  return text;
}

std::string entity_of_row(const std::string& row) { return row.substr(0, row.find_first_of("#$")); }

}  // namespace

Rows engine_rows(EngineClient& client, const std::string& tenant, const std::string& token) {
  Rows rows;
  for (const std::string& text : client.tuples_at(tenant, token)) rows[text] = true;
  std::string page;
  do {
    grpc::ClientContext context;
    set_deadline(context);
    pb::AttributeReadRequest request;
    request.set_tenant_id(tenant);
    request.mutable_metadata()->set_snap_token(token);
    request.mutable_filter();
    request.set_continuous_token(page);
    pb::AttributeReadResponse response;
    demand(client.stubs().data->ReadAttributes(&context, request, &response), "read attributes of " + tenant);
    for (const pb::Attribute& attribute : response.attributes()) {
      rows[attribute.entity().type() + ":" + attribute.entity().id() + "$" + attribute.attribute()] =
          json::parse(json_of_value(attribute.value()));
    }
    page = response.continuous_token();
  } while (!page.empty());
  return rows;
}

json rows_of_entity(const Rows& rows, const std::string& entity) {
  json found = json::object();
  for (const auto& [row, value] : rows) {
    if (entity_of_row(row) == entity) found[row] = value;
  }
  return found;
}

json ask_redis(const RedisServer& server, std::vector<std::string> words) {
  const TempFolder folder("headgate-redis-cli");
  const std::string log = folder.path() + "/answer";
  std::vector<std::string> argv = {"redis-cli", "-p", std::to_string(server.port()), "--json"};
  argv.insert(argv.end(), words.begin(), words.end());
  Process process({.argv = argv, .log_file = log});
  if (!process.wait(std::chrono::seconds(20))) throw std::runtime_error("redis-cli did not end: " + words[0]);
  const std::string answer = read_file(log);
  json parsed = json::parse(answer, nullptr, false);
  if (process.exit_code() != 0 || parsed.is_discarded()) throw std::runtime_error(words[0] + ": " + answer);
  return parsed;
}

json read_json(const std::string& path) {
  const std::string text = read_file(path);
  return text.empty() ? json::object() : json::parse(text);
}

std::vector<json> read_json_lines(const std::string& path) {
  std::vector<json> lines;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);) {
    if (json entry = json::parse(line, nullptr, false); !entry.is_discarded()) lines.push_back(std::move(entry));
  }
  return lines;
}

std::string check_copy(const json& copy, const Rows& rows) {
  const Rows held = copy.at("Rows").get<Rows>();
  for (const auto& [row, value] : rows) {
    const auto found = held.find(row);
    if (found == held.end()) return "the copy lacks " + row;
    if (found->second != value) return "the copy has " + found->second.dump() + " for " + row + ", not " + value.dump();
  }
  for (const auto& [row, value] : held) {
    if (!rows.contains(row)) return "the copy has " + row + ", which is no more";
  }
  return "";
}

std::string check_cache(const json& cache, const Rows& rows) {
  for (const auto& [entity, value] : cache.items()) {
    const json now = rows_of_entity(rows, entity);
    if (json::parse(value.get<std::string>()) != now) {
      return entity + " is stale: " + value.get<std::string>() + " is cached, the engine has " + now.dump();
    }
  }
  return "";
}

std::string check_audit(const std::vector<json>& lines, const std::vector<Received>& said, const std::string& tenant) {
  std::vector<std::string> logged;
  for (const json& line : lines) {
    if (line.value("tenant", "") != tenant) continue;
    if (line["kind"] == "hole") return "a hole, though the stream has everything: " + line.dump();
    logged.push_back(line.at("id"));
  }
  size_t i = 0;
  for (const Received& event : said) {
    if (event.tenant != tenant || event.type == kHeartbeat) continue;
    if (i == logged.size()) return "the log ends before " + event.id;
    if (logged[i] != event.id) return "the log has " + logged[i] + " where the stream has " + event.id;
    ++i;
  }
  return i < logged.size() ? "the log has more than the stream: " + logged[i] : "";
}

uint64_t said_sequence(const json& knowledge, const std::vector<Received>& said, const std::string& tenant) {
  const std::string token = knowledge.value(tenant, json::object()).value("token", "");
  uint64_t sequence = 0;
  for (const Received& event : said) {
    if (event.tenant == tenant && event.token == token && event.type != kHeartbeat) sequence = event.sequence;
  }
  return sequence;
}

std::string check_signal(const json& knowledge, const std::vector<Received>& said, const std::string& tenant) {
  if (!knowledge.contains(tenant)) return "nothing is known of " + tenant;
  const json& known = knowledge[tenant];
  const uint64_t heard = known.at("sequence").get<uint64_t>() - known.at("known_since").get<uint64_t>();
  std::map<std::string, std::string> wanted;
  uint64_t last = said_sequence(knowledge, said, tenant);
  const uint64_t since = last - std::min(last, heard);
  for (const Received& event : said) {
    if (event.tenant != tenant || event.type == kHeartbeat) continue;
    last = event.sequence;
    if (!event.is_changes() || last < since) continue;
    for (const pb::DataChange& change : event.changes.data_changes()) {
      wanted[entity_of_row(text_of(change).substr(1))] = event.token;
    }
  }
  if (said_sequence(knowledge, said, tenant) != last) return "the last event is not heard: " + std::to_string(last);
  if (known.at("in_doubt") == true) return "the last event has come, and it is still in doubt";
  if (known.at("changed") == json(wanted)) return "";
  return "changed is " + known["changed"].dump() + ", not " + json(wanted).dump();
}

std::string check_sequences(const std::vector<Received>& said, const std::string& tenant) {
  const Received* before = nullptr;
  for (const Received& event : said) {
    if (event.tenant != tenant || event.type == kHeartbeat) continue;
    if (before != nullptr && event.sequence != before->sequence + 1) {
      return "behind " + std::to_string(before->sequence) + " stands " + std::to_string(event.sequence);
    }
    if (before != nullptr && event.previous_token != before->token) return event.id + " does not follow " + before->id;
    before = &event;
  }
  return before == nullptr ? "nothing of " + tenant : "";
}

}  // namespace headgate::testing
