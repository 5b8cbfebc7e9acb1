#include <ctime>

#include "base/v1/service.grpc.pb.h"
#include "engine/api/services.h"
#include "engine/model/errors.h"
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

class SchemaService : public Schema::CallbackService {
 public:
  SchemaService(CallRunner& calls, SchemaStore& schemas, PageLimits limits)
      : calls_(calls), schemas_(schemas), limits_(limits) {}

  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context, const SchemaWriteRequest* request,
                                  SchemaWriteResponse* response) override {
    return calls_.run(context, *request, write_, ERROR_CODE_EXECUTION, [=, this]() -> Status {
      HG_ASSIGN_OR_RETURN(const CompiledSchema compiled, compile_schema(request->schema()));
      HG_ASSIGN_OR_RETURN(*response->mutable_schema_version(),
                          schemas_.write(request->tenant_id(), compiled.rows, std::nullopt));
      return ok_status();
    });
  }

  grpc::ServerUnaryReactor* PartialWrite(grpc::CallbackServerContext* context, const SchemaPartialWriteRequest* request,
                                         SchemaPartialWriteResponse* response) override {
    return calls_.run(context, *request, partial_write_, away(request->metadata()), [=, this] {
      Status status;
      for (int attempt = 0; attempt < kPartialWriteAttempts; ++attempt) {
        status = partial_write(*request, *response);
        if (status.code() != StatusCode::kAborted) break;
      }
      return status;
    });
  }

  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, const SchemaReadRequest* request,
                                 SchemaReadResponse* response) override {
    return calls_.run(context, *request, read_, away(request->metadata()), [=, this]() -> Status {
      HG_ASSIGN_OR_RETURN(const std::string version,
                          version_of(request->tenant_id(), request->metadata().schema_version()));
      HG_ASSIGN_OR_RETURN(const std::vector<SchemaRow> rows, schemas_.read(request->tenant_id(), version));
      HG_ASSIGN_OR_RETURN(*response->mutable_schema(), read_schema(rows));
      return ok_status();
    });
  }

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const SchemaListRequest* request,
                                 SchemaListResponse* response) override {
    return calls_.run(context, *request, list_, ERROR_CODE_SCAN, [=, this]() -> Status {
      HG_ASSIGN_OR_RETURN(*response->mutable_head(), schemas_.head_version(request->tenant_id()));
      HG_ASSIGN_OR_RETURN(
          const Page<SchemaVersion> page,
          schemas_.list(request->tenant_id(), limits_.page(request->page_size(), request->continuous_token())));
      for (const SchemaVersion& version : page.items) {
        SchemaList& item = *response->add_schemas();
        item.set_version(version.version);
        item.set_created_at(creation_text(version.created_at_s));
      }
      response->set_continuous_token(page.next);
      return ok_status();
    });
  }

 private:
  // The first query resolves the head, unless the version is pinned.
  template <typename Metadata>
  static ErrorCode away(const Metadata& metadata) {
    return metadata.schema_version().empty() ? ERROR_CODE_SCAN : ERROR_CODE_EXECUTION;
  }

  StatusOr<std::string> version_of(const std::string& tenant, const std::string& pinned) {
    if (!pinned.empty()) return pinned;
    return schemas_.head_version(tenant);
  }

  // ABORTED when the head moved meanwhile. A pinned version is the caller's own choice of a base; then the head is not
  // looked at.
  Status partial_write(const SchemaPartialWriteRequest& request, SchemaPartialWriteResponse& response) {
    const std::string& pinned = request.metadata().schema_version();
    HG_ASSIGN_OR_RETURN(const std::string base, version_of(request.tenant_id(), pinned));
    HG_ASSIGN_OR_RETURN(const std::vector<SchemaRow> rows, schemas_.read(request.tenant_id(), base));
    HG_ASSIGN_OR_RETURN(const CompiledSchema compiled, apply_partials(rows, request.partials()));
    const std::optional<std::string> expected = pinned.empty() ? std::optional(base) : std::nullopt;
    HG_ASSIGN_OR_RETURN(*response.mutable_schema_version(),
                        schemas_.write(request.tenant_id(), compiled.rows, expected));
    return ok_status();
  }

  CallRunner& calls_;
  SchemaStore& schemas_;
  const PageLimits limits_;
  MethodMetrics write_{calls_.metrics(), "Schema.Write"};
  MethodMetrics partial_write_{calls_.metrics(), "Schema.PartialWrite"};
  MethodMetrics read_{calls_.metrics(), "Schema.Read"};
  MethodMetrics list_{calls_.metrics(), "Schema.List"};
};

}  // namespace

std::unique_ptr<grpc::Service> make_schema_service(CallRunner& calls, SchemaStore& schemas, PageLimits limits) {
  return std::make_unique<SchemaService>(calls, schemas, limits);
}

}  // namespace headgate::engine
