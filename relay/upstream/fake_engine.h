// An engine on 127.0.0.1 for tests: headgate.v1.Feed, base.v1.Watch and Tenancy.List over one list of transactions.
// Every service can be left out. Methods are thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/v1/service.grpc.pb.h"
#include "headgate/v1/feed.grpc.pb.h"

namespace headgate::relay::testing {

class FakeEngine {
 public:
  struct Options {
    bool feed = true;
    bool heartbeats = true;
    std::string key = {};  // required when not empty
    // A Watch stream that was opened on a tenant without a transaction says nothing for ever.
    bool like_permify = false;
  };

  FakeEngine() : FakeEngine(Options{}) {}
  explicit FakeEngine(Options options) : options_(std::move(options)), feed_(*this), watch_(*this), tenancy_(*this) {
    start();
  }
  ~FakeEngine() { stop(); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void start() {
    stopping_ = false;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port_);
    if (options_.feed) builder.RegisterService(&feed_);
    builder.RegisterService(&watch_);
    builder.RegisterService(&tenancy_);
    server_ = builder.BuildAndStart();
  }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    server_.reset();
  }

  void add_tenant(const std::string& name) {
    std::lock_guard lock(mutex_);
    tenants_.insert(name);
  }
  void remove_tenant(const std::string& name) {
    std::lock_guard lock(mutex_);
    tenants_.erase(name);
  }
  void write(const std::string& tenant, uint64_t xid) {
    std::lock_guard lock(mutex_);
    tenants_.insert(tenant);
    log_.push_back({tenant, xid});
    changed_.notify_all();
  }
  // In front of a position that stays where it is.
  void write_ahead(const std::string& tenant, uint64_t xid) {
    std::lock_guard lock(mutex_);
    tenants_.insert(tenant);
    log_.push_back({tenant, xid, 0, true});
    changed_.notify_all();
  }
  // Without changes, as what the engine cannot read. The relay may not know the kind.
  void write_unreadable(const std::string& tenant, uint64_t xid, int kind) {
    std::lock_guard lock(mutex_);
    log_.push_back({tenant, xid, kind});
    changed_.notify_all();
  }
  // Streams that stand end with this.
  void end_streams(grpc::Status status) {
    std::lock_guard lock(mutex_);
    ++round_;
    end_ = std::move(status);
    changed_.notify_all();
  }
  // New streams of the tenant (of all for the Feed, when empty) are refused with this until it is OK again.
  void refuse(const std::string& tenant, grpc::Status status) {
    std::lock_guard lock(mutex_);
    refused_[tenant] = std::move(status);
  }
  // The same for Watch streams that name a token.
  void refuse_token(const std::string& tenant, grpc::Status status) {
    std::lock_guard lock(mutex_);
    refused_tokens_[tenant] = std::move(status);
  }
  void mute(bool value) { muted_ = value; }

  headgate::v1::SubscribeRequest last_subscribe() const {
    std::lock_guard lock(mutex_);
    return last_subscribe_;
  }
  int opened(const std::string& tenant) const {
    std::lock_guard lock(mutex_);
    const auto found = opened_.find(tenant);
    return found == opened_.end() ? 0 : found->second;
  }
  std::string last_token(const std::string& tenant) const {
    std::lock_guard lock(mutex_);
    const auto found = tokens_.find(tenant);
    return found == tokens_.end() ? "" : found->second;
  }
  int standing() const { return standing_; }

 private:
  struct Row {
    std::string tenant;
    uint64_t xid;
    int kind = 0;
    bool ahead = false;
  };

  static std::string changes_of(uint64_t xid) {
    base::v1::DataChanges changes;
    changes.set_snap_token(encode_legacy_token(xid));
    changes.add_data_changes()->set_operation(base::v1::DataChange::OPERATION_CREATE);
    return changes.SerializeAsString();
  }
  grpc::Status admitted(grpc::ServerContext& context) const {
    if (options_.key.empty()) return grpc::Status::OK;
    const auto found = context.client_metadata().find("authorization");
    const std::string given =
        found == context.client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
    return given == "Bearer " + options_.key ? grpc::Status::OK
                                             : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong key");
  }
  uint64_t head() const { return log_.empty() ? 99 : log_.back().xid; }
  static uint64_t xid_of(const std::string& token) { return decode_snap_token(token).value().xid; }

  grpc::Status subscribe(grpc::ServerContext& context, const headgate::v1::SubscribeRequest& request,
                         grpc::ServerWriter<headgate::v1::FeedMessage>& writer) {
    if (grpc::Status status = admitted(context); !status.ok()) return status;
    std::unique_lock lock(mutex_);
    last_subscribe_ = request;
    ++opened_[""];
    if (!refused_[""].ok()) return refused_[""];
    const int round = round_;
    const uint64_t start = request.default_start() == headgate::v1::START_POLICY_HEAD ? head() : 0;
    std::map<std::string, uint64_t> starts;
    headgate::v1::FeedMessage message;
    message.mutable_opened()->set_incarnation("7001/1");
    message.mutable_opened()->set_position(head() + 1);
    message.mutable_opened()->set_snap_token(encode_position_token(head() + 1));
    writer.Write(message);
    for (const auto& position : request.positions()) {
      starts[position.tenant_id()] = position.snap_token().empty() ? start : xid_of(position.snap_token());
      const auto refused = refused_.find(position.tenant_id());
      if (refused == refused_.end() || refused->second.ok()) continue;
      starts[position.tenant_id()] = UINT64_MAX;
      message.mutable_tenant()->set_tenant_id(position.tenant_id());
      message.mutable_tenant()->set_state(headgate::v1::TenantEvent::STATE_FAILED);
      message.mutable_tenant()->set_reason("HISTORY_GONE");
      message.mutable_tenant()->set_snap_token(encode_position_token(head() + 1));
      writer.Write(message);
    }
    ++standing_;
    size_t sent = 0;
    while (!context.IsCancelled() && !stopping_ && round == round_) {
      message.Clear();
      for (; sent < log_.size() && message.batch().transactions_size() < 100; ++sent) {
        const Row& row = log_[sent];
        const auto own = starts.find(row.tenant);
        if (own == starts.end() && !request.all_tenants()) continue;
        if (row.xid <= (own == starts.end() ? start : own->second)) continue;
        const auto& batch = message.batch().transactions();
        if (!batch.empty() && batch[0].ahead() != row.ahead) break;
        auto* transaction = message.mutable_batch()->add_transactions();
        transaction->set_tenant_id(row.tenant);
        transaction->set_xid(row.xid);
        transaction->set_snap_token(encode_legacy_token(row.xid));
        transaction->set_started_at_us(1'000'000);
        transaction->set_ahead(row.ahead);
        if (row.kind == 0) transaction->set_changes(changes_of(row.xid));
        transaction->set_kind(static_cast<headgate::v1::Transaction::Kind>(row.kind));
        if (row.kind == headgate::v1::Transaction::KIND_UNREADABLE) transaction->set_reason("ROW_UNREADABLE");
      }
      if (muted_) {
      } else if (message.batch().transactions_size() > 0) {
        writer.Write(message);
        continue;
      } else if (options_.heartbeats) {
        message.mutable_heartbeat()->set_position(head() + 1);
        message.mutable_heartbeat()->set_snap_token(encode_position_token(head() + 1));
        writer.Write(message);
      }
      changed_.wait_for(lock, std::chrono::milliseconds(request.heartbeat_interval_ms()));
    }
    --standing_;
    return stopping_ ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down") : end_;
  }

  grpc::Status watch(grpc::ServerContext& context, const base::v1::WatchRequest& request,
                     grpc::ServerWriter<base::v1::WatchResponse>& writer) {
    if (grpc::Status status = admitted(context); !status.ok()) return status;
    std::unique_lock lock(mutex_);
    const std::string& tenant = request.tenant_id();
    ++opened_[tenant];
    tokens_[tenant] = request.snap_token();
    if (!refused_[tenant].ok()) return refused_[tenant];
    if (!request.snap_token().empty() && !refused_tokens_[tenant].ok()) return refused_tokens_[tenant];
    const bool has_rows = std::any_of(log_.begin(), log_.end(), [&](const Row& row) { return row.tenant == tenant; });
    const bool hangs = options_.like_permify && request.snap_token().empty() && !has_rows;
    const int round = round_;
    const uint64_t start = request.snap_token().empty() ? head() : xid_of(request.snap_token());
    ++standing_;
    size_t sent = 0;
    while (!context.IsCancelled() && !stopping_ && round == round_) {
      for (; sent < log_.size(); ++sent) {
        if (hangs || log_[sent].tenant != tenant || log_[sent].xid <= start) continue;
        base::v1::WatchResponse response;
        response.mutable_changes()->ParseFromString(changes_of(log_[sent].xid));
        writer.Write(response);
      }
      changed_.wait_for(lock, std::chrono::milliseconds(20));
    }
    --standing_;
    return stopping_ ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down") : end_;
  }

  grpc::Status list(grpc::ServerContext& context, const base::v1::TenantListRequest& request,
                    base::v1::TenantListResponse& response) {
    if (grpc::Status status = admitted(context); !status.ok()) return status;
    std::lock_guard lock(mutex_);
    // Pages of two, so that paging is exercised.
    auto name = tenants_.upper_bound(request.continuous_token());
    for (int i = 0; i < 2 && name != tenants_.end(); ++i, ++name) response.add_tenants()->set_id(*name);
    if (name != tenants_.end()) response.set_continuous_token(response.tenants().rbegin()->id());
    return grpc::Status::OK;
  }

  struct FeedService : headgate::v1::Feed::Service {
    explicit FeedService(FakeEngine& owner) : engine(owner) {}
    grpc::Status Subscribe(grpc::ServerContext* context, const headgate::v1::SubscribeRequest* request,
                           grpc::ServerWriter<headgate::v1::FeedMessage>* writer) override {
      return engine.subscribe(*context, *request, *writer);
    }
    FakeEngine& engine;
  };
  struct WatchService : base::v1::Watch::Service {
    explicit WatchService(FakeEngine& owner) : engine(owner) {}
    grpc::Status Watch(grpc::ServerContext* context, const base::v1::WatchRequest* request,
                       grpc::ServerWriter<base::v1::WatchResponse>* writer) override {
      return engine.watch(*context, *request, *writer);
    }
    FakeEngine& engine;
  };
  struct TenancyService : base::v1::Tenancy::Service {
    explicit TenancyService(FakeEngine& owner) : engine(owner) {}
    grpc::Status List(grpc::ServerContext* context, const base::v1::TenantListRequest* request,
                      base::v1::TenantListResponse* response) override {
      return engine.list(*context, *request, *response);
    }
    FakeEngine& engine;
  };

  const Options options_;
  FeedService feed_;
  WatchService watch_;
  TenancyService tenancy_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Row> log_;
  std::set<std::string> tenants_;
  std::map<std::string, grpc::Status> refused_;
  std::map<std::string, grpc::Status> refused_tokens_;
  std::map<std::string, int> opened_;
  std::map<std::string, std::string> tokens_;
  headgate::v1::SubscribeRequest last_subscribe_;
  grpc::Status end_ = grpc::Status::OK;
  int round_ = 0;
  bool stopping_ = false;
  std::atomic<bool> muted_{false};
  std::atomic<int> standing_{0};
};

}  // namespace headgate::relay::testing
