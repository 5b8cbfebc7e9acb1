#include "engine/check/check_service.h"
#include "engine/rpc/methods.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

MonotonicTime deadline_of(const Call& call) {
  if (call.deadline() == Call::Time::max()) return MonotonicTime::max();
  const auto left = call.deadline() - std::chrono::system_clock::now();
  return left > std::chrono::hours(24) ? MonotonicTime::max() : std::chrono::steady_clock::now() + left;
}

// What the answer rests on, also when there is none.
void tell(Call& call, const CheckCall& check) {
  if (!check.at) return;
  call.add_trailer("headgate-snap-token", encode_snap_token(*check.at));
  call.add_trailer("headgate-age-ms", std::to_string(check.age.count()));
  call.add_trailer("headgate-source", "database");
  call.add_trailer("headgate-schema-version", check.schema_version);
}

StatusOr<CheckCall> check_call(const Call& call) {
  CheckCall check{.wanted = [&call] { return call.wanted(); }, .deadline = deadline_of(call)};
  HG_ASSIGN_OR_RETURN(check.consistency, parse_consistency(std::string(call.metadata("headgate-consistency"))));
  return check;
}

// The first query resolves the head, unless everything is pinned.
template <typename Request>
ErrorCode away_on_check(const Request& request) {
  const bool pinned = !request.metadata().schema_version().empty() && !request.metadata().snap_token().empty();
  return pinned ? ERROR_CODE_EXECUTION : ERROR_CODE_SCAN;
}

template <typename Request, typename Response>
Method<Request, Response> method_of(Metrics& metrics, const char* name, CheckService& checks,
                                    StatusOr<Response> (CheckService::*ask)(const Request&, CheckCall&)) {
  return {std::make_shared<MethodMetrics>(metrics, name),
          away_on_check<Request>,
          [&checks, ask](const Request& request, Call& call) -> StatusOr<Response> {
            HG_ASSIGN_OR_RETURN(CheckCall check, check_call(call));
            StatusOr<Response> answer = (checks.*ask)(request, check);
            tell(call, check);
            return answer;
          },
          {}};
}

}  // namespace

PermissionMethods make_permission_methods(Metrics& metrics, CheckService& checks) {
  using Stream = PermissionLookupEntityStreamResponse;
  const auto stream = [&checks](const PermissionLookupEntityRequest& request, Call& call,
                                const std::function<Status(Stream)>& emit) -> Status {
    HG_ASSIGN_OR_RETURN(CheckCall check, check_call(call));
    const Status end = checks.lookup_entity_stream(request, check, emit);
    tell(call, check);
    return end;
  };
  return {method_of(metrics, "Permission.Check", checks, &CheckService::check),
          method_of(metrics, "Permission.BulkCheck", checks, &CheckService::bulk_check),
          method_of(metrics, "Permission.Expand", checks, &CheckService::expand),
          method_of(metrics, "Permission.LookupEntity", checks, &CheckService::lookup_entity),
          {std::make_shared<MethodMetrics>(metrics, "Permission.LookupEntityStream"),
           away_on_check<PermissionLookupEntityRequest>, stream},
          method_of(metrics, "Permission.LookupSubject", checks, &CheckService::lookup_subject),
          method_of(metrics, "Permission.SubjectPermission", checks, &CheckService::subject_permission)};
}

}  // namespace headgate::engine
