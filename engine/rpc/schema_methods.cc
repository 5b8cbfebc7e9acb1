#include <ctime>

#include "engine/rpc/methods.h"
#include "engine/schema/schema.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

// How often a partial write starts again when another write came between its read and its write.
constexpr int kPartialWriteAttempts = 10;

// The text that clients know, for example "2026-11-21 14:06:12 +0000 UTC".
std::string creation_text(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[64];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S +0000 UTC", &parts);
  return text;
}

class SchemaHandlers {
 public:
  SchemaHandlers(SchemaStore& schemas, PageLimits limits, std::function<void()> written)
      : schemas_(schemas), limits_(limits), written_(std::move(written)) {}

  StatusOr<SchemaWriteResponse> write(const SchemaWriteRequest& request, Call&) {
    HG_ASSIGN_OR_RETURN(const CompiledSchema compiled, compile_schema(request.schema()));
    SchemaWriteResponse response;
    HG_ASSIGN_OR_RETURN(*response.mutable_schema_version(),
                        schemas_.write(request.tenant_id(), compiled.rows, std::nullopt));
    if (written_) written_();
    return response;
  }

  StatusOr<SchemaPartialWriteResponse> partial_write(const SchemaPartialWriteRequest& request, Call&) {
    for (int attempt = 1;; ++attempt) {
      StatusOr<std::string> version = try_partial_write(request);
      if (version.status().code() == StatusCode::kAborted && attempt < kPartialWriteAttempts) continue;
      SchemaPartialWriteResponse response;
      HG_ASSIGN_OR_RETURN(*response.mutable_schema_version(), std::move(version));
      if (written_) written_();
      return response;
    }
  }

  StatusOr<SchemaReadResponse> read(const SchemaReadRequest& request, Call&) {
    HG_ASSIGN_OR_RETURN(const std::string version,
                        version_of(request.tenant_id(), request.metadata().schema_version()));
    HG_ASSIGN_OR_RETURN(const std::vector<SchemaRow> rows, schemas_.read(request.tenant_id(), version));
    SchemaReadResponse response;
    HG_ASSIGN_OR_RETURN(*response.mutable_schema(), read_schema(rows));
    return response;
  }

  StatusOr<SchemaListResponse> list(const SchemaListRequest& request, Call&) {
    SchemaListResponse response;
    HG_ASSIGN_OR_RETURN(*response.mutable_head(), schemas_.head_version(request.tenant_id()));
    HG_ASSIGN_OR_RETURN(
        const Page<SchemaVersion> page,
        schemas_.list(request.tenant_id(), limits_.page(request.page_size(), request.continuous_token())));
    for (const SchemaVersion& version : page.items) {
      SchemaList& item = *response.add_schemas();
      item.set_version(version.version);
      item.set_created_at(creation_text(version.created_at_s));
    }
    response.set_continuous_token(page.next);
    return response;
  }

 private:
  StatusOr<std::string> version_of(const std::string& tenant, const std::string& pinned) {
    if (!pinned.empty()) return pinned;
    return schemas_.head_version(tenant);
  }

  // ABORTED when the head moved meanwhile. A pinned version is the caller's own choice of a base; then the head is not
  // looked at.
  StatusOr<std::string> try_partial_write(const SchemaPartialWriteRequest& request) {
    const std::string& pinned = request.metadata().schema_version();
    HG_ASSIGN_OR_RETURN(const std::string base, version_of(request.tenant_id(), pinned));
    HG_ASSIGN_OR_RETURN(const std::vector<SchemaRow> rows, schemas_.read(request.tenant_id(), base));
    HG_ASSIGN_OR_RETURN(const CompiledSchema compiled, apply_partials(rows, request.partials()));
    const std::optional<std::string> expected = pinned.empty() ? std::optional(base) : std::nullopt;
    return schemas_.write(request.tenant_id(), compiled.rows, expected);
  }

  SchemaStore& schemas_;
  const PageLimits limits_;
  const std::function<void()> written_;
};

// The first query resolves the head, unless the version is pinned.
template <typename Request>
ErrorCode away_of_schema(const Request& request) {
  return request.metadata().schema_version().empty() ? ERROR_CODE_SCAN : ERROR_CODE_EXECUTION;
}

}  // namespace

SchemaMethods make_schema_methods(Metrics& metrics, SchemaStore& schemas, PageLimits limits,
                                  std::function<void()> written) {
  const auto handlers = std::make_shared<SchemaHandlers>(schemas, limits, std::move(written));
  return {make_method(metrics, "Schema.Write", always(ERROR_CODE_EXECUTION), handlers, &SchemaHandlers::write),
          make_method(metrics, "Schema.PartialWrite", away_of_schema<SchemaPartialWriteRequest>, handlers,
                      &SchemaHandlers::partial_write),
          make_method(metrics, "Schema.Read", away_of_schema<SchemaReadRequest>, handlers, &SchemaHandlers::read),
          make_method(metrics, "Schema.List", always(ERROR_CODE_SCAN), handlers, &SchemaHandlers::list)};
}

}  // namespace headgate::engine
