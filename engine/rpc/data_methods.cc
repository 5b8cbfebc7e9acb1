#include "engine/rpc/methods.h"
#include "engine/write/write_service.h"

namespace headgate::engine {
namespace {

using namespace base::v1;

template <typename Response>
StatusOr<Response> answer_of(const StatusOr<SnapToken>& token) {
  HG_RETURN_IF_ERROR(token.status());
  Response response;
  response.set_snap_token(encode_snap_token(*token));
  return response;
}

class DataHandlers {
 public:
  DataHandlers(WriteService& writes, DataReader& reader, PageLimits limits)
      : writes_(writes), reader_(reader), limits_(limits) {}

  StatusOr<RelationshipReadResponse> read_relationships(const RelationshipReadRequest& request, Call&) {
    HG_ASSIGN_OR_RETURN(const SnapToken at, state_of(request));
    HG_ASSIGN_OR_RETURN(Page<Tuple> page, reader_.tuples(request.tenant_id(), at, request.filter(), page_of(request)));
    RelationshipReadResponse response;
    for (Tuple& tuple : page.items) *response.add_tuples() = std::move(tuple);
    response.set_continuous_token(page.next);
    return response;
  }

  StatusOr<AttributeReadResponse> read_attributes(const AttributeReadRequest& request, Call&) {
    HG_ASSIGN_OR_RETURN(const SnapToken at, state_of(request));
    HG_ASSIGN_OR_RETURN(Page<Attribute> page,
                        reader_.attributes(request.tenant_id(), at, request.filter(), page_of(request)));
    AttributeReadResponse response;
    for (Attribute& attribute : page.items) *response.add_attributes() = std::move(attribute);
    response.set_continuous_token(page.next);
    return response;
  }

  StatusOr<DataDeleteResponse> remove(const DataDeleteRequest& request, Call&) {
    return answer_of<DataDeleteResponse>(writes_.remove(request));
  }

  StatusOr<RelationshipDeleteResponse> remove_relationships(const RelationshipDeleteRequest& request, Call&) {
    return answer_of<RelationshipDeleteResponse>(writes_.remove_relationships(request));
  }

  StatusOr<BundleRunResponse> run_bundle(const BundleRunRequest& request, Call&) {
    return answer_of<BundleRunResponse>(writes_.run_bundle(request));
  }

 private:
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

  WriteService& writes_;
  DataReader& reader_;
  const PageLimits limits_;
};

// The first query resolves the head version or the head state, unless it is pinned.
template <typename Request>
ErrorCode away_of_write(const Request& request) {
  return request.metadata().schema_version().empty() ? ERROR_CODE_SCAN : ERROR_CODE_DATASTORE;
}
template <typename Request>
ErrorCode away_of_read(const Request& request) {
  return request.metadata().snap_token().empty() ? ERROR_CODE_SCAN : ERROR_CODE_EXECUTION;
}

template <typename Request, typename Response>
Method<Request, Response> write_method(Metrics& metrics, std::string name, WriteService& writes) {
  const auto begin = [&writes](const Request& request, Call& call, const auto& ready) {
    const std::shared_ptr<CheckedWrite> write = writes.prepare(request);
    const auto get = [write] { return answer_of<Response>(write->get()); };
    const bool begun = write->begin([&call] { return call.wanted(); },
                                    [ready, get](bool blocks) { ready(blocks ? Left::kRest : Left::kNothing, get); });
    if (!begun) ready(Left::kAll, get);
  };
  return {std::make_shared<MethodMetrics>(metrics, std::move(name)), away_of_write<Request>, {}, begin};
}

}  // namespace

DataMethods make_data_methods(Metrics& metrics, WriteService& writes, DataReader& reader, PageLimits limits) {
  const auto handlers = std::make_shared<DataHandlers>(writes, reader, limits);
  const auto datastore = always(ERROR_CODE_DATASTORE);
  return {write_method<DataWriteRequest, DataWriteResponse>(metrics, "Data.Write", writes),
          write_method<RelationshipWriteRequest, RelationshipWriteResponse>(metrics, "Data.WriteRelationships", writes),
          make_method(metrics, "Data.ReadRelationships", away_of_read<RelationshipReadRequest>, handlers,
                      &DataHandlers::read_relationships),
          make_method(metrics, "Data.ReadAttributes", away_of_read<AttributeReadRequest>, handlers,
                      &DataHandlers::read_attributes),
          make_method(metrics, "Data.Delete", datastore, handlers, &DataHandlers::remove),
          make_method(metrics, "Data.DeleteRelationships", datastore, handlers, &DataHandlers::remove_relationships),
          make_method(metrics, "Data.RunBundle", always(ERROR_CODE_SCAN), handlers, &DataHandlers::run_bundle)};
}

}  // namespace headgate::engine
