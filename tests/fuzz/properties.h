// Properties that several targets demand.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/settings.h"
#include "base/status.h"
#include "tests/fuzz/target.h"

namespace headgate::fuzz {

// Silences our log and Protobuf's, which both tell of bad input.
void be_quiet();

// A refusal that a client may see: one of `codes`, with a text that can travel as UTF-8.
void demand_refusal(const Status& status, std::initializer_list<StatusCode> codes);

// `what` says which pair it is.
void demand_equal(const google::protobuf::Message& a, const google::protobuf::Message& b, std::string_view what);

// The texts of a PostgreSQL array literal of texts, read by PostgreSQL's rules. Throws Violation when it is none.
std::vector<std::string> read_array_literal(std::string_view text);

// Loads settings from `input` (lines NAME=VALUE of the environment, a line "%%", YAML; or YAML alone). What is accepted
// prints to a text that loads again, with nothing but its secrets in the environment since they are printed masked, and
// prints the same. `fresh` starts from the defaults and hands a describe function that fills them to its argument.
using WithFreshSettings = std::function<void(const std::function<void(const DescribeSettings&)>&)>;
void demand_settings_round_trip(std::string_view input, const std::string& prefix, const WithFreshSettings& fresh);

}  // namespace headgate::fuzz
