#include "engine/check/check_service.h"

#include "base/guard.h"
#include "engine/check/candidates.h"
#include "engine/check/expansion.h"
#include "engine/model/errors.h"
#include "engine/storage/readable.h"
#include "engine/storage/sql.h"

namespace headgate::engine {

namespace {

using namespace base::v1;

CheckResult result_of(const Verdict& verdict) { return verdict.allowed ? CHECK_RESULT_ALLOWED : CHECK_RESULT_DENIED; }

void put(const Verdict& verdict, PermissionCheckResponse& response) {
  response.set_can(result_of(verdict));
  response.mutable_metadata()->set_check_count(verdict.count);
}

// Whether a state has all that a token has. The token of a position names no transaction of its own.
bool covers(const Head& head, const SnapToken& token) {
  const std::vector<uint64_t>& missing = head.at.snapshot.in_progress;
  if (end_of(token) > end_of(head.at)) return false;
  return token.is_position() || std::ranges::find(missing, token.xid) == missing.end();
}

// For lookups, which would find nobody by a name that nobody has.
Status check_names(const SchemaDefinition& schema, const std::string& type, const std::string& name) {
  const auto entity = schema.entity_definitions().find(type);
  const bool known = entity != schema.entity_definitions().end() &&
                     (entity->second.references().contains(name) || schema.rule_definitions().contains(name));
  return known ? ok_status() : api_error(ERROR_CODE_SCHEMA_NOT_FOUND);
}

template <typename Request>
const Arguments* arguments_of(const Request& request) {
  if constexpr (requires { request.arguments(); }) return &request.arguments();
  return nullptr;
}

const Status& status_in(const Status& status) { return status; }
template <typename T>
const Status& status_in(const StatusOr<T>& result) {
  return result.status();
}

// How many candidates of a lookup are checked together.
constexpr size_t kFirstChunk = 32;
constexpr size_t kChunk = 500;

}  // namespace

StatusOr<Consistency> parse_consistency(const std::string& text) {
  if (text.empty() || text == "bounded" || text == "at-least") return Consistency::kDefault;
  if (text == "strict") return Consistency::kStrict;
  if (text == "exact") return Consistency::kExact;
  return invalid_argument("unknown consistency; there are bounded, at-least, strict and exact");
}

CheckService::CheckService(BatchReader& reader, HeadKeeper& heads, SchemaCache& schemas, const RuleEvaluator& rules,
                           CheckSettings settings)
    : reader_(reader), heads_(heads), schemas_(schemas), rules_(rules), settings_(settings) {}

template <typename Work>
auto CheckService::at_a_state(CheckCall& call, const Work& work) -> decltype(work()) {
  auto answer = work();
  const bool lost = !answer.ok() && status_in(answer).code() == StatusCode::kOutOfRange && call.at;
  if (!lost || call.consistency != Consistency::kDefault) return answer;
  call.consistency = Consistency::kStrict;
  return work();
}

StatusOr<PermissionCheckResponse> CheckService::check(const PermissionCheckRequest& request, CheckCall& call) {
  return at_a_state(call, [&] { return check_once(request, call); });
}

StatusOr<PermissionBulkCheckResponse> CheckService::bulk_check(const PermissionBulkCheckRequest& request,
                                                               CheckCall& call) {
  return at_a_state(call, [&] { return bulk_check_once(request, call); });
}

StatusOr<PermissionExpandResponse> CheckService::expand(const PermissionExpandRequest& request, CheckCall& call) {
  return at_a_state(call, [&] { return expand_once(request, call); });
}

StatusOr<PermissionSubjectPermissionResponse> CheckService::subject_permission(
    const PermissionSubjectPermissionRequest& request, CheckCall& call) {
  return at_a_state(call, [&] { return subject_permission_once(request, call); });
}

StatusOr<PermissionLookupSubjectResponse> CheckService::lookup_subject(const PermissionLookupSubjectRequest& request,
                                                                       CheckCall& call) {
  return at_a_state(call, [&] { return lookup_subject_once(request, call); });
}

StatusOr<SnapToken> CheckService::state_for(const std::string& tenant, const std::string& token, bool needs_version,
                                            CheckCall& call) {
  std::optional<SnapToken> given;
  if (!token.empty()) {
    HG_ASSIGN_OR_RETURN(given, decode_snap_token(token));
  }
  if (call.consistency == Consistency::kExact && !given) {
    return invalid_argument("the consistency exact needs a snap token");
  }
  const bool exact = call.consistency == Consistency::kExact;
  if (exact && !needs_version) return *given;
  const Freshness freshness = call.consistency == Consistency::kStrict ? Freshness::kStrict : Freshness::kBounded;
  HG_ASSIGN_OR_RETURN(Head head, heads_.get(tenant, freshness, call.wanted));
  if (given && !exact && !covers(head, *given)) {
    HG_ASSIGN_OR_RETURN(head, heads_.get(tenant, Freshness::kStrict, call.wanted));
    HG_RETURN_IF_ERROR(check_readable(*given, {.floor = 0, .horizon = end_of(head.at), .standby = head.standby}));
    if (!covers(head, *given)) return unavailable("xid {} of the snap token has not ended; try again", given->xid);
  }
  call.schema_version = head.version;
  if (exact) return *given;
  call.age = std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - head.asked);
  return head.at;
}

template <typename Request>
StatusOr<CheckService::Prepared> CheckService::prepare(const Request& request, CheckCall& call) {
  Prepared prepared;
  const std::string& pinned = request.metadata().schema_version();
  HG_ASSIGN_OR_RETURN(prepared.scope.at,
                      state_for(request.tenant_id(), request.metadata().snap_token(), pinned.empty(), call));
  call.at = prepared.scope.at;
  if (!pinned.empty()) call.schema_version = pinned;
  if (call.schema_version.empty()) return api_error(ERROR_CODE_SCHEMA_NOT_FOUND);
  HG_ASSIGN_OR_RETURN(prepared.schema, schemas_.get(request.tenant_id(), call.schema_version));
  prepared.scope.tenant = request.tenant_id();
  prepared.scope.schema = prepared.schema.get();
  prepared.scope.version = call.schema_version;
  prepared.scope.context = request.has_context() ? &request.context() : nullptr;
  prepared.scope.arguments = arguments_of(request);
  prepared.scope.limits = settings_.limits;
  prepared.scope.reader = &reader_;
  prepared.scope.rules = &rules_;
  prepared.scope.wanted = call.wanted;
  prepared.scope.end = std::min(call.deadline, std::chrono::steady_clock::now() + settings_.limits.time_max);
  return prepared;
}

StatusOr<std::vector<Verdict>> CheckService::decide(const Scope& scope, const std::vector<Question>& questions,
                                                    DepthRule rule) {
  Facts facts(scope);
  return Evaluation(scope, facts, rule).decide(questions);
}

StatusOr<PermissionCheckResponse> CheckService::check_once(const PermissionCheckRequest& request, CheckCall& call) {
  HG_ASSIGN_OR_RETURN(const Prepared prepared, prepare(request, call));
  HG_ASSIGN_OR_RETURN(const std::vector<Verdict> verdicts,
                      decide(prepared.scope, {{request.entity(), request.permission(), request.subject()}},
                             {request.metadata().depth()}));
  HG_RETURN_IF_ERROR(verdicts[0].error);
  PermissionCheckResponse response;
  put(verdicts[0], response);
  return response;
}

StatusOr<PermissionBulkCheckResponse> CheckService::bulk_check_once(const PermissionBulkCheckRequest& request,
                                                                    CheckCall& call) {
  HG_ASSIGN_OR_RETURN(const Prepared prepared, prepare(request, call));
  std::vector<Question> questions;
  for (const PermissionBulkCheckRequestItem& item : request.items()) {
    questions.push_back({item.entity(), item.permission(), item.subject()});
  }
  HG_ASSIGN_OR_RETURN(const std::vector<Verdict> verdicts,
                      decide(prepared.scope, questions, {request.metadata().depth()}));
  PermissionBulkCheckResponse response;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    if (const Status& error = verdicts[i].error; !error.ok()) {
      return make_status(error.code(), fmt::format("{}: item {}", message_of(error), i));
    }
    put(verdicts[i], *response.add_results());
  }
  return response;
}

StatusOr<PermissionExpandResponse> CheckService::expand_once(const PermissionExpandRequest& request, CheckCall& call) {
  HG_ASSIGN_OR_RETURN(const Prepared prepared, prepare(request, call));
  Facts facts(prepared.scope);
  PermissionExpandResponse response;
  HG_ASSIGN_OR_RETURN(*response.mutable_tree(),
                      Expansion(prepared.scope, facts).run(request.entity(), request.permission()));
  return response;
}

StatusOr<PermissionSubjectPermissionResponse> CheckService::subject_permission_once(
    const PermissionSubjectPermissionRequest& request, CheckCall& call) {
  HG_ASSIGN_OR_RETURN(const Prepared prepared, prepare(request, call));
  const auto& definitions = prepared.schema->entity_definitions();
  const auto entity = definitions.find(request.entity().type());
  if (entity == definitions.end()) return api_error(ERROR_CODE_SCHEMA_NOT_FOUND);
  // In the order of names, so that of several failures it is always the same that is told.
  std::vector<std::string> names;
  for (const auto& [name, reference] : entity->second.references()) {
    const bool relation = reference == EntityDefinition::REFERENCE_RELATION && !request.metadata().only_permission();
    if (relation || reference == EntityDefinition::REFERENCE_PERMISSION) names.push_back(name);
  }
  std::ranges::sort(names);
  std::vector<Question> questions;
  for (const std::string& name : names) questions.push_back({request.entity(), name, request.subject()});
  // The outermost step is free in this call and in lookups, as in Permify.
  HG_ASSIGN_OR_RETURN(const std::vector<Verdict> verdicts,
                      decide(prepared.scope, questions, {int64_t{request.metadata().depth()} + 1}));
  PermissionSubjectPermissionResponse response;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    HG_RETURN_IF_ERROR(verdicts[i].error);
    (*response.mutable_results())[names[i]] = result_of(verdicts[i]);
  }
  return response;
}

StatusOr<CheckService::Paging> CheckService::paging_of(uint32_t size, const std::string& token) const {
  Paging paging{std::min(size == 0 ? settings_.page_size_default : size, settings_.page_size_max), ""};
  if (token.empty()) return paging;
  HG_ASSIGN_OR_RETURN(paging.first, decode_page_token(token));
  return paging;
}

Status CheckService::page(const Scope& scope, const std::vector<Candidate>& candidates, const Paging& paging,
                          DepthRule rule, const Ask& ask, const Emit& emit) {
  uint32_t given = 0;
  auto at = guarded(Guard::kLookupPages) ? std::ranges::lower_bound(candidates, paging.first, {}, &Candidate::id)
                                         : std::ranges::upper_bound(candidates, paging.first, {}, &Candidate::id);
  // The first ones soon, the others cheaply.
  size_t chunk = std::min<size_t>(paging.size + size_t{1}, kFirstChunk);
  while (at != candidates.end()) {
    const auto end = at + std::min<ptrdiff_t>(static_cast<ptrdiff_t>(chunk), candidates.end() - at);
    std::vector<Question> questions;
    for (auto one = at; one != end; ++one) {
      if (one->proof > rule.depth_max) questions.push_back(ask(one->id));
    }
    HG_ASSIGN_OR_RETURN(const std::vector<Verdict> verdicts, decide(scope, questions, rule));
    auto verdict = verdicts.begin();
    for (; at != end; ++at) {
      if (at->proof > rule.depth_max) {
        HG_RETURN_IF_ERROR(verdict->error);
        if (!verdict++->allowed) continue;
      }
      const bool behind_page = given++ == paging.size;
      HG_RETURN_IF_ERROR(emit(at->id, behind_page));
      if (behind_page) return ok_status();
    }
    chunk = std::min(4 * chunk, kChunk);
  }
  return ok_status();
}

Status CheckService::lookup(const PermissionLookupEntityRequest& request, CheckCall& call, const Emit& emit) {
  HG_ASSIGN_OR_RETURN(const Paging paging, paging_of(request.page_size(), request.continuous_token()));
  HG_ASSIGN_OR_RETURN(const Prepared prepared, prepare(request, call));
  HG_RETURN_IF_ERROR(check_names(*prepared.schema, request.entity_type(), request.permission()));
  Facts facts(prepared.scope);
  HG_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates,
                      EntityCandidates(prepared.scope, facts, request.scope())
                          .find({request.entity_type(), request.permission()}, request.subject()));
  const auto ask = [&](const std::string& id) {
    Question question{{}, request.permission(), request.subject()};
    question.entity.set_type(request.entity_type());
    question.entity.set_id(id);
    return question;
  };
  return page(prepared.scope, candidates, paging, {int64_t{request.metadata().depth()} + 1}, ask, emit);
}

StatusOr<PermissionLookupEntityResponse> CheckService::lookup_entity(const PermissionLookupEntityRequest& request,
                                                                     CheckCall& call) {
  PermissionLookupEntityResponse response;
  HG_RETURN_IF_ERROR(at_a_state(call, [&] {
    response.Clear();
    return lookup(request, call, [&](const std::string& id, bool behind_page) {
      if (behind_page) response.set_continuous_token(encode_page_token(id));
      if (!behind_page) response.add_entity_ids(id);
      return ok_status();
    });
  }));
  return response;
}

Status CheckService::lookup_entity_stream(const PermissionLookupEntityRequest& request, CheckCall& call,
                                          const std::function<Status(PermissionLookupEntityStreamResponse)>& emit) {
  // Each message has the token of the next, so it waits for that one.
  std::optional<PermissionLookupEntityStreamResponse> last;
  const auto take = [&](const std::string& id, bool behind_page) {
    // From now on there is no other state.
    if (call.consistency == Consistency::kDefault) call.consistency = Consistency::kStrict;
    if (last) {
      last->set_continuous_token(encode_page_token(id));
      HG_RETURN_IF_ERROR(emit(*std::exchange(last, std::nullopt)));
    }
    if (!behind_page) last.emplace().set_entity_id(id);
    return ok_status();
  };
  HG_RETURN_IF_ERROR(at_a_state(call, [&] { return lookup(request, call, take); }));
  return last ? emit(*std::move(last)) : ok_status();
}

StatusOr<PermissionLookupSubjectResponse> CheckService::lookup_subject_once(
    const PermissionLookupSubjectRequest& request, CheckCall& call) {
  HG_ASSIGN_OR_RETURN(const Paging paging, paging_of(request.page_size(), request.continuous_token()));
  HG_ASSIGN_OR_RETURN(const Prepared prepared, prepare(request, call));
  HG_RETURN_IF_ERROR(check_names(*prepared.schema, request.entity().type(), request.permission()));
  const RelationReference& kind = request.subject_reference();
  Facts facts(prepared.scope);
  HG_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates,
                      SubjectCandidates(prepared.scope, facts).find(request.entity(), request.permission(), kind));
  const auto ask = [&](const std::string& id) {
    Question question{request.entity(), request.permission(), {}};
    question.subject.set_type(kind.type());
    question.subject.set_id(id);
    question.subject.set_relation(kind.relation());
    return question;
  };
  PermissionLookupSubjectResponse response;
  const DepthRule rule{settings_.limits.depth_max, !kind.relation().empty()};
  HG_RETURN_IF_ERROR(page(prepared.scope, candidates, paging, rule, ask, [&](const std::string& id, bool behind_page) {
    if (behind_page) response.set_continuous_token(encode_page_token(id));
    if (!behind_page) response.add_subject_ids(id);
    return ok_status();
  }));
  return response;
}

}  // namespace headgate::engine
