// What clients ask of permissions: requests of base.v1 in, answers out.
//
// Requests have passed the field rules (that is the edge's part). Thread-safe; blocks on the database. Errors carry the
// ERROR_CODE_ names; OUT_OF_RANGE when a snap token cannot be served, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED when an
// answer would take too much.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/v1/service.pb.h"
#include "engine/check/evaluation.h"
#include "engine/check/heads.h"
#include "engine/check/scope.h"
#include "engine/write/schema_cache.h"

namespace headgate::engine {

enum class Consistency : uint8_t {
  kDefault,  // with a snap token: at least as fresh as it; without: bounded
  kStrict,   // what was committed when the request came is seen
  kExact,    // the very state of the snap token, which is required
};
// "", "bounded" or "at-least", "strict" or "exact"; INVALID_ARGUMENT for anything else.
StatusOr<Consistency> parse_consistency(const std::string& text);

// One call: what its caller wants, and what it was answered from.
struct CheckCall {
  std::function<Status()> wanted{};  // OK while somebody waits for the answer; empty: always
  MonotonicTime deadline = MonotonicTime::max();
  Consistency consistency = Consistency::kDefault;

  // Set as soon as it is known.
  std::optional<SnapToken> at{};
  Duration age{0};  // what was committed so long before the answer may be missing
  std::string schema_version{};
};

struct CheckSettings {
  CheckLimits limits;
  uint32_t page_size_default = 1000;
  uint32_t page_size_max = 5000;
};

struct Candidate;

class CheckService {
 public:
  // All are borrowed and outlive this.
  CheckService(BatchReader& reader, HeadKeeper& heads, SchemaCache& schemas, const RuleEvaluator& rules,
               CheckSettings settings);

  StatusOr<base::v1::PermissionCheckResponse> check(const base::v1::PermissionCheckRequest& request, CheckCall& call);
  // All items at one state. An item that fails fails the call: its neighbours' answers are had without it.
  StatusOr<base::v1::PermissionBulkCheckResponse> bulk_check(const base::v1::PermissionBulkCheckRequest& request,
                                                             CheckCall& call);
  StatusOr<base::v1::PermissionExpandResponse> expand(const base::v1::PermissionExpandRequest& request,
                                                      CheckCall& call);
  StatusOr<base::v1::PermissionLookupEntityResponse> lookup_entity(
      const base::v1::PermissionLookupEntityRequest& request, CheckCall& call);
  // `emit` gets each entity as soon as it is known; what it returns ends the work unless it is OK.
  Status lookup_entity_stream(const base::v1::PermissionLookupEntityRequest& request, CheckCall& call,
                              const std::function<Status(base::v1::PermissionLookupEntityStreamResponse)>& emit);
  StatusOr<base::v1::PermissionLookupSubjectResponse> lookup_subject(
      const base::v1::PermissionLookupSubjectRequest& request, CheckCall& call);
  StatusOr<base::v1::PermissionSubjectPermissionResponse> subject_permission(
      const base::v1::PermissionSubjectPermissionRequest& request, CheckCall& call);

 private:
  using Definition = std::shared_ptr<const base::v1::SchemaDefinition>;
  struct Prepared {
    Scope scope;
    Definition schema;
  };
  // Tells of a sorted list who is allowed, page by page.
  struct Paging {
    uint32_t size = 0;
    std::string first;  // the first id of the page
  };
  using Ask = std::function<Question(const std::string& id)>;
  // Called with each id of the page that is allowed, and with the first one behind it if there is one.
  using Emit = std::function<Status(const std::string& id, bool behind_page)>;

  // Once more at a newer state when the collector has passed the one at hand, or the tenant was removed.
  template <typename Work>
  static auto at_a_state(CheckCall& call, const Work& work) -> decltype(work());
  template <typename Request>
  StatusOr<Prepared> prepare(const Request& request, CheckCall& call);
  // The calls, at one attempt.
  StatusOr<base::v1::PermissionCheckResponse> check_once(const base::v1::PermissionCheckRequest& request,
                                                         CheckCall& call);
  StatusOr<base::v1::PermissionBulkCheckResponse> bulk_check_once(const base::v1::PermissionBulkCheckRequest& request,
                                                                  CheckCall& call);
  StatusOr<base::v1::PermissionExpandResponse> expand_once(const base::v1::PermissionExpandRequest& request,
                                                           CheckCall& call);
  StatusOr<base::v1::PermissionLookupSubjectResponse> lookup_subject_once(
      const base::v1::PermissionLookupSubjectRequest& request, CheckCall& call);
  StatusOr<base::v1::PermissionSubjectPermissionResponse> subject_permission_once(
      const base::v1::PermissionSubjectPermissionRequest& request, CheckCall& call);
  StatusOr<SnapToken> state_for(const std::string& tenant, const std::string& token, bool needs_version,
                                CheckCall& call);
  StatusOr<Paging> paging_of(uint32_t size, const std::string& token) const;
  StatusOr<std::vector<Verdict>> decide(const Scope& scope, const std::vector<Question>& questions, DepthRule rule);
  // Proven ones are not checked.
  Status page(const Scope& scope, const std::vector<Candidate>& candidates, const Paging& paging, DepthRule rule,
              const Ask& ask, const Emit& emit);
  Status lookup(const base::v1::PermissionLookupEntityRequest& request, CheckCall& call, const Emit& emit);

  BatchReader& reader_;
  HeadKeeper& heads_;
  SchemaCache& schemas_;
  const RuleEvaluator& rules_;
  const CheckSettings settings_;
};

}  // namespace headgate::engine
