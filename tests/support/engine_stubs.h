// The stubs behind EngineClient. Apart from it, because they are slow to compile and few tests call them.
#pragma once

#include <memory>

#include "base/v1/service.grpc.pb.h"
#include "headgate/v1/feed.grpc.pb.h"

namespace headgate::testing {

struct EngineStubs {
  explicit EngineStubs(const std::shared_ptr<grpc::Channel>& channel)
      : tenancy(base::v1::Tenancy::NewStub(channel)),
        schema(base::v1::Schema::NewStub(channel)),
        data(base::v1::Data::NewStub(channel)),
        bundle(base::v1::Bundle::NewStub(channel)),
        watch(base::v1::Watch::NewStub(channel)),
        feed(headgate::v1::Feed::NewStub(channel)) {}

  const std::unique_ptr<base::v1::Tenancy::Stub> tenancy;
  const std::unique_ptr<base::v1::Schema::Stub> schema;
  const std::unique_ptr<base::v1::Data::Stub> data;
  const std::unique_ptr<base::v1::Bundle::Stub> bundle;
  const std::unique_ptr<base::v1::Watch::Stub> watch;
  const std::unique_ptr<headgate::v1::Feed::Stub> feed;
};

}  // namespace headgate::testing
