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

// What an answer still needs.
enum class Left : uint8_t {
  kNothing,  // it is at hand
  kRest,     // something that blocks, of work that is under way and may not be refused any more
  kAll,      // all of the work: nothing was begun
};

template <typename Request, typename Response>
struct Method {
  using Ready = std::function<void(Left left, std::function<StatusOr<Response>()> get)>;

  std::shared_ptr<MethodMetrics> metrics;
  // The error of this call when the database is away (errors.h). Not set: errors carry details instead
  // (error_details.h).
  std::function<base::v1::ErrorCode(const Request&)> away;
  // Runs on a worker and may block. Request and call live until it returns.
  std::function<StatusOr<Response>(const Request&, Call&)> handle;
  // Instead of `handle`, for work that mostly need not block: called on the thread that received the call, must not
  // block, and calls `ready` once, on any thread. `get` is then called where it may block if it does. Request and call
  // live until it returns.
  std::function<void(const Request&, Call&, const Ready& ready)> begin;
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
