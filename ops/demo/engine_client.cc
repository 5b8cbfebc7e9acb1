#include "ops/demo/engine_client.h"

#include <grpcpp/grpcpp.h>

#include "base/snap_token.h"
#include "base/v1/service.grpc.pb.h"
#include "ops/demo/changes.h"

namespace headgate::demo {
namespace {

Status status_from(const std::string& what, const grpc::Status& status) {
  if (status.ok()) return ok_status();
  return status_of(static_cast<StatusCode>(status.error_code()), "{}: {}", what, status.error_message());
}

void set_deadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
}

}  // namespace

struct EngineClient::Stubs {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<base::v1::Tenancy::Stub> tenancy;
  std::unique_ptr<base::v1::Schema::Stub> schema;
  std::unique_ptr<base::v1::Data::Stub> data;
};

EngineClient::EngineClient(const std::string& address) : stubs_(std::make_unique<Stubs>()) {
  stubs_->channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  stubs_->tenancy = base::v1::Tenancy::NewStub(stubs_->channel);
  stubs_->schema = base::v1::Schema::NewStub(stubs_->channel);
  stubs_->data = base::v1::Data::NewStub(stubs_->channel);
}

EngineClient::~EngineClient() = default;

Status EngineClient::wait_until_ready(int seconds) {
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(seconds);
  if (stubs_->channel->WaitForConnected(deadline)) return ok_status();
  return unavailable("the engine did not answer within {} s", seconds);
}

Status EngineClient::create_tenant(const std::string& id, const std::string& name) {
  grpc::ClientContext context;
  set_deadline(context);
  base::v1::TenantCreateRequest request;
  base::v1::TenantCreateResponse response;
  request.set_id(id);
  request.set_name(name);
  const grpc::Status status = stubs_->tenancy->Create(&context, request, &response);
  if (status.error_code() == grpc::ALREADY_EXISTS || status.error_message().find("UNIQUE") != std::string::npos) {
    return ok_status();
  }
  return status_from("create tenant " + id, status);
}

Status EngineClient::write_schema(const std::string& tenant, const std::string& schema) {
  grpc::ClientContext context;
  set_deadline(context);
  base::v1::SchemaWriteRequest request;
  base::v1::SchemaWriteResponse response;
  request.set_tenant_id(tenant);
  request.set_schema(schema);
  return status_from("write the schema of " + tenant, stubs_->schema->Write(&context, request, &response));
}

StatusOr<Transaction> EngineClient::run(const Step& step) {
  grpc::ClientContext context;
  set_deadline(context);
  Transaction done{.tenant = step.tenant, .title = step.title};
  done.sent_at_us = unix_us();
  grpc::Status status;
  if (step.remove.empty()) {
    base::v1::DataWriteRequest request;
    base::v1::DataWriteResponse response;
    request.set_tenant_id(step.tenant);
    request.mutable_metadata();
    for (const base::v1::Tuple& tuple : step.create) {
      *request.add_tuples() = tuple;
      done.changes.insert("+" + text_of(tuple));
    }
    for (const base::v1::Attribute& attribute : step.set) {
      *request.add_attributes() = attribute;
      done.changes.insert("+" + text_of(attribute));
    }
    status = stubs_->data->Write(&context, request, &response);
    done.token = response.snap_token();
  } else {
    base::v1::DataDeleteRequest request;
    base::v1::DataDeleteResponse response;
    request.set_tenant_id(step.tenant);
    request.mutable_attribute_filter();
    base::v1::TupleFilter* filter = request.mutable_tuple_filter();
    filter->mutable_entity()->set_type(step.remove[0].entity().type());
    filter->mutable_entity()->add_ids(step.remove[0].entity().id());
    filter->set_relation(step.remove[0].relation());
    filter->mutable_subject()->set_type(step.remove[0].subject().type());
    for (const base::v1::Tuple& tuple : step.remove) {
      filter->mutable_subject()->add_ids(tuple.subject().id());
      done.changes.insert("-" + text_of(tuple));
    }
    status = stubs_->data->Delete(&context, request, &response);
    done.token = response.snap_token();
  }
  HG_RETURN_IF_ERROR(status_from("write to " + step.tenant, status));
  HG_ASSIGN_OR_RETURN(const SnapToken token, decode_snap_token(done.token));
  done.xid = token.xid;
  return done;
}

}  // namespace headgate::demo
