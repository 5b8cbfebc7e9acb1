// The HTTP pages of the relay; `/` lists them, README.md says what they answer.
#pragma once

#include <functional>
#include <string>

#include "base/http_server.h"
#include "base/metrics.h"
#include "relay/admin/access.h"
#include "relay/admin/readiness.h"
#include "relay/admin/view.h"

namespace headgate::relay {

// Adds the routes. All arguments but the last must outlive the server. `access` is asked at every order.
void add_pages(HttpServer& server, const RelayView& view, RelayControl& control, Metrics& metrics, Readiness& readiness,
               std::function<AdminAccess()> access);

// As they answer; for tests.
HttpResponse status_page(const RelayView& view, const std::map<std::string, std::string>& query);
HttpResponse tenant_page(const RelayView& view, const std::string& tenant);
HttpResponse ready_page(const RelayView& view, const ReadinessAnswer& answer, bool verbose);
HttpResponse resume_page(RelayControl& control, const AdminAccess& access, const HttpRequest& request);

// Gauges that are read from the view at every scrape; `sinks` are the names of all sinks.
void add_gauges(Metrics& metrics, const RelayView& view, const std::vector<std::string>& sinks);

}  // namespace headgate::relay
