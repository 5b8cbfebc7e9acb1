// The HTTP pages of the relay: /livez /readyz /startupz /status /metrics.
//
// /status?tenant=NAME  one tenant in every sink; ?after=NAME&limit=N pages through all of them in name order;
// ?stopped=1 only those that stand still. Without any of these the tenants are only counted.
#pragma once

#include <string>

#include "base/http_server.h"
#include "base/metrics.h"
#include "relay/admin/readiness.h"
#include "relay/admin/view.h"

namespace headgate::relay {

// Adds the routes. All arguments must outlive the server.
void add_pages(HttpServer& server, const RelayView& view, Metrics& metrics, Readiness& readiness);

// As /status answers.
std::string status_json(const RelayView& view, const std::map<std::string, std::string>& query);

// Gauges that are read from the view at every scrape; `sinks` are the names of all sinks.
void add_gauges(Metrics& metrics, const RelayView& view, const std::vector<std::string>& sinks);

}  // namespace headgate::relay
