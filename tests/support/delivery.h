// Recorded histories for tests/support/validators.h, and what a sink promises beyond them. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/subscribers.h"
#include "tests/support/truth.h"
#include "tests/support/validators.h"

namespace headgate::testing {

using Truth = std::map<std::string, std::vector<TrueTransaction>>;

std::vector<TruthRow> rows_of(const Truth& truth);
SeenMessage seen(const std::string& tenant, const base::v1::DataChanges& message);
std::vector<SeenMessage> seen(const std::string& tenant, const std::vector<base::v1::DataChanges>& messages);
// Of one tenant, as it came.
std::vector<SeenMessage> seen(const std::string& tenant, const std::vector<Received>& events);

// How many transactions of the tenant lie behind a token; an empty one stands for the beginning.
size_t count_behind(const Truth& truth, const std::string& tenant, const std::string& token);
uint64_t xid_of_token(const std::string& token);

// F1 and F7 of a Watch stream that began at `token`: "" or the first violation.
std::string check_stream(const Truth& truth, const std::string& tenant, const std::string& token,
                         const std::vector<base::v1::DataChanges>& messages);

enum class Repeats {
  kNone,    // each event once
  kAllowed  // an event may come again, unchanged
};
// What one sink holds: of each tenant everything once repeats are taken out (F1, F7), with dense sequences and previous
// tokens that chain, events of its life among them, a GAP in front of all that says where a relay began, and nothing
// else. "" or the first violation.
//
// `gaps` are the reasons of other GAPs that the attack makes due. Behind SINK_LOST_EVENTS all that was lost must come
// once more, under new numbers; any other GAP is one event more in the order.
std::string check_sink(const Truth& truth, const std::vector<Received>& received, Repeats repeats,
                       const std::set<std::string>& gaps = {});

// How many events came more than once, and the longest way back: how many events of its tenant lay between an event and
// its repetition.
struct RepeatCount {
  size_t events = 0;
  size_t longest_way = 0;
};
RepeatCount count_repeats(const std::vector<Received>& received);

}  // namespace headgate::testing
