// A unary method of the API, for any edge: its handler, and how its calls are counted and its errors told.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>

#include "base/v1/errors.pb.h"
#include "engine/rpc/call.h"
#include "engine/rpc/method_metrics.h"

namespace headgate::engine {

template <typename Request, typename Response>
struct Method {
  // How a call ended, or what is left of it and blocks.
  using End = std::function<void(StatusOr<Response> ended, std::function<StatusOr<Response>()> rest)>;

  std::shared_ptr<MethodMetrics> metrics;
  // The error of this call when the database is away (errors.h). Not set: errors carry details instead
  // (error_details.h).
  std::function<base::v1::ErrorCode(const Request&)> away;
  // Runs on a worker and may block. Request and call live until it returns.
  std::function<StatusOr<Response>(const Request&, Call&)> handle;
  // Not set for most. Called first, on the thread that received the call, so it must not block. It takes the work on
  // and calls `end` once, on any thread; `rest`, if there is any, is then run on a worker. Or it declines, and `handle`
  // is run. Request and call live until the end.
  std::function<bool(const Request&, Call&, End end)> begin;
};

// The same error for each call.
inline auto always(base::v1::ErrorCode code) {
  return [code](const auto&) { return code; };
}

// `name` as "Data.Write".
template <typename Handlers, typename Request, typename Response>
Method<Request, Response> make_method(Metrics& metrics, std::string name,
                                      std::type_identity_t<std::function<base::v1::ErrorCode(const Request&)>> away,
                                      const std::shared_ptr<Handlers>& handlers,
                                      StatusOr<Response> (Handlers::*handle)(const Request&, Call&)) {
  return {std::make_shared<MethodMetrics>(metrics, std::move(name)),
          std::move(away),
          [handlers, handle](const Request& request, Call& call) { return (handlers.get()->*handle)(request, call); },
          {}};
}

}  // namespace headgate::engine
