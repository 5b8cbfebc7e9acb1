#include "base/v1/service.grpc.pb.h"
#include "engine/api/services.h"
#include "engine/write/write_service.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

class DataService : public Data::CallbackService {
 public:
  DataService(CallRunner& calls, WriteService& writes, DataReader& reader, PageLimits limits)
      : calls_(calls), writes_(writes), reader_(reader), limits_(limits) {}

  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context, const DataWriteRequest* request,
                                  DataWriteResponse* response) override {
    return calls_.run_soon(
        context, *request, write_, away_on_write(request->metadata().schema_version()),
        [&](const CallRunner::Soon& soon) {
          return writes_.write_soon(*request, soon.wanted, ending_into(*response, soon));
        },
        [=, this] { return answer(writes_.write(*request), *response); });
  }

  grpc::ServerUnaryReactor* WriteRelationships(grpc::CallbackServerContext* context,
                                               const RelationshipWriteRequest* request,
                                               RelationshipWriteResponse* response) override {
    return calls_.run_soon(
        context, *request, write_relationships_, away_on_write(request->metadata().schema_version()),
        [&](const CallRunner::Soon& soon) {
          return writes_.write_relationships_soon(*request, soon.wanted, ending_into(*response, soon));
        },
        [=, this] { return answer(writes_.write_relationships(*request), *response); });
  }

  grpc::ServerUnaryReactor* ReadRelationships(grpc::CallbackServerContext* context,
                                              const RelationshipReadRequest* request,
                                              RelationshipReadResponse* response) override {
    return calls_.run(
        context, *request, read_relationships_, away_on_read(request->metadata().snap_token()), [=, this]() -> Status {
          HG_ASSIGN_OR_RETURN(const SnapToken at, state_of(*request));
          HG_ASSIGN_OR_RETURN(Page<Tuple> page,
                              reader_.tuples(request->tenant_id(), at, request->filter(), page_of(*request)));
          for (Tuple& tuple : page.items) *response->add_tuples() = std::move(tuple);
          response->set_continuous_token(page.next);
          return ok_status();
        });
  }

  grpc::ServerUnaryReactor* ReadAttributes(grpc::CallbackServerContext* context, const AttributeReadRequest* request,
                                           AttributeReadResponse* response) override {
    return calls_.run(
        context, *request, read_attributes_, away_on_read(request->metadata().snap_token()), [=, this]() -> Status {
          HG_ASSIGN_OR_RETURN(const SnapToken at, state_of(*request));
          HG_ASSIGN_OR_RETURN(Page<Attribute> page,
                              reader_.attributes(request->tenant_id(), at, request->filter(), page_of(*request)));
          for (Attribute& attribute : page.items) *response->add_attributes() = std::move(attribute);
          response->set_continuous_token(page.next);
          return ok_status();
        });
  }

  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context, const DataDeleteRequest* request,
                                   DataDeleteResponse* response) override {
    return calls_.run(context, *request, delete_, ERROR_CODE_DATASTORE,
                      [=, this] { return answer(writes_.remove(*request), *response); });
  }

  grpc::ServerUnaryReactor* DeleteRelationships(grpc::CallbackServerContext* context,
                                                const RelationshipDeleteRequest* request,
                                                RelationshipDeleteResponse* response) override {
    return calls_.run(context, *request, delete_relationships_, ERROR_CODE_DATASTORE,
                      [=, this] { return answer(writes_.remove_relationships(*request), *response); });
  }

  grpc::ServerUnaryReactor* RunBundle(grpc::CallbackServerContext* context, const BundleRunRequest* request,
                                      BundleRunResponse* response) override {
    return calls_.run(context, *request, run_bundle_, ERROR_CODE_SCAN,
                      [=, this] { return answer(writes_.run_bundle(*request), *response); });
  }

 private:
  // The first query resolves the head version or the head state, unless it is pinned.
  static ErrorCode away_on_write(const std::string& version) {
    return version.empty() ? ERROR_CODE_SCAN : ERROR_CODE_DATASTORE;
  }
  static ErrorCode away_on_read(const std::string& token) {
    return token.empty() ? ERROR_CODE_SCAN : ERROR_CODE_EXECUTION;
  }

  template <typename Response>
  static Status answer(const StatusOr<SnapToken>& token, Response& response) {
    if (token.ok()) response.set_snap_token(encode_snap_token(*token));
    return token.status();
  }

  template <typename Response>
  static std::function<void(WriteEnding)> ending_into(Response& response, const CallRunner::Soon& soon) {
    return [&response, end = soon.end](WriteEnding ending) {
      if (!ending.rest) return end(answer(ending.token, response), {});
      end(ok_status(), [&response, rest = std::move(ending.rest)] { return answer(rest(), response); });
    };
  }

  template <typename Request>
  StatusOr<SnapToken> state_of(const Request& request) {
    const std::string& token = request.metadata().snap_token();
    if (token.empty()) return reader_.head(request.tenant_id());
    return decode_snap_token(token);
  }

  template <typename Request>
  PageRequest page_of(const Request& request) const {
    return limits_.page(request.page_size(), request.continuous_token());
  }

  CallRunner& calls_;
  WriteService& writes_;
  DataReader& reader_;
  const PageLimits limits_;
  MethodMetrics write_{calls_.metrics(), "Data.Write"};
  MethodMetrics write_relationships_{calls_.metrics(), "Data.WriteRelationships"};
  MethodMetrics read_relationships_{calls_.metrics(), "Data.ReadRelationships"};
  MethodMetrics read_attributes_{calls_.metrics(), "Data.ReadAttributes"};
  MethodMetrics delete_{calls_.metrics(), "Data.Delete"};
  MethodMetrics delete_relationships_{calls_.metrics(), "Data.DeleteRelationships"};
  MethodMetrics run_bundle_{calls_.metrics(), "Data.RunBundle"};
};

}  // namespace

std::unique_ptr<grpc::Service> make_data_service(CallRunner& calls, WriteService& writes, DataReader& reader,
                                                 PageLimits limits) {
  return std::make_unique<DataService>(calls, writes, reader, limits);
}

}  // namespace headgate::engine
