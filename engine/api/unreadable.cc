#include "engine/api/unreadable.h"

#include <grpcpp/support/interceptor.h>

namespace headgate::engine {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

class UnreadableInterceptor : public Interceptor {
 public:
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      unreadable_ = methods->GetRecvMessage() == nullptr;
    }
    if (unreadable_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      methods->ModifySendStatus({grpc::StatusCode::INVALID_ARGUMENT,
                                 "the request is not a message of the expected type, or a text in it is not UTF-8"});
    }
    methods->Proceed();
  }

 private:
  bool unreadable_ = false;
};

class UnreadableFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  // Owned by the library. Where clients stream, the end of their messages looks the same as one that is unreadable.
  Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    using Type = grpc::experimental::ServerRpcInfo::Type;
    if (info->type() != Type::UNARY && info->type() != Type::SERVER_STREAMING) return nullptr;
    return std::make_unique<UnreadableInterceptor>().release();
  }
};

}  // namespace

std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> make_unreadable_interceptors() {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> made;
  made.push_back(std::make_unique<UnreadableFactory>());
  return made;
}

}  // namespace headgate::engine
