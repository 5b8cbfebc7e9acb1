// What the examples claim, compared with what the engine itself says. "" or the first difference.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/engine_client.h"
#include "tests/support/servers.h"
#include "tests/support/subscribers.h"

namespace headgate::testing {

// "doc:1#viewer@user:u" -> true, "doc:1$public" -> its value.
using Rows = std::map<std::string, nlohmann::json>;

// By ReadRelationships and ReadAttributes; throws when they fail. An empty token stands for the head.
Rows engine_rows(EngineClient& client, const std::string& tenant, const std::string& token);
// Those of one entity, "doc:1".
nlohmann::json rows_of_entity(const Rows& rows, const std::string& entity);

// One command by redis-cli, which ends with the answer in JSON; throws when it fails.
nlohmann::json ask_redis(const RedisServer& server, std::vector<std::string> words);

// The file of the event-sourced copy; empty when it is not there yet.
nlohmann::json read_json(const std::string& path);
std::vector<nlohmann::json> read_json_lines(const std::string& path);

std::string check_copy(const nlohmann::json& copy, const Rows& rows);
// Every cached entry says what the engine says.
std::string check_cache(const nlohmann::json& cache, const Rows& rows);
// The log has what the sink has of the tenant, in its order and nothing twice; `said` are the events as read by
// ourselves.
std::string check_audit(const std::vector<nlohmann::json>& lines, const std::vector<Received>& said,
                        const std::string& tenant);
// The sequence in `said` of the event that the signal client has heard last; 0 when it has heard none.
uint64_t said_sequence(const nlohmann::json& knowledge, const std::vector<Received>& said, const std::string& tenant);
// Every entity that was changed since `known_since` is known, with the token that changed it last.
std::string check_signal(const nlohmann::json& knowledge, const std::vector<Received>& said, const std::string& tenant);
// Dense numbers, and where history is missing a GAP that says so.
std::string check_sequences(const std::vector<Received>& said, const std::string& tenant);

}  // namespace headgate::testing
