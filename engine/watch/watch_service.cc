#include "engine/watch/watch_service.h"

#include <charconv>
#include <set>

#include "base/v1/service.grpc.pb.h"
#include "engine/api/unary.h"
#include "engine/rpc/error_details.h"
#include "engine/watch/admission.h"
#include "engine/watch/session_host.h"
#include "engine/watch/watch_session.h"
#include "headgate/v1/feed.grpc.pb.h"

namespace headgate::engine {

namespace {

constexpr size_t kBatchBytes = 256 << 10;
constexpr size_t kBatchBytesMax = 4 << 20;
constexpr size_t kBatchItemsMax = 10'000;
constexpr Duration kFeedHeartbeat{1'000};
constexpr int kRecentMax = 1'000;

// Hands gRPC's reactions to the session.
class SessionReactor : public StreamReactor {
 public:
  explicit SessionReactor(std::shared_ptr<StreamSession> session) : session_(std::move(session)) {}
  void OnSendInitialMetadataDone(bool ok) override { session_->on_metadata_done(ok); }
  void OnWriteDone(bool ok) override { session_->on_write_done(ok); }
  void OnCancel() override { session_->on_cancel(); }
  void OnDone() override {
    session_->on_done();
    delete this;
  }

 private:
  const std::shared_ptr<StreamSession> session_;
};

class EndedReactor : public StreamReactor {
 public:
  explicit EndedReactor(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

Status parse(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message) {
  // Without bytes the client has gone before its request arrived.
  if (!bytes.Valid()) return make_status(StatusCode::kCancelled, "the call was broken off");
  grpc::Slice slice;
  if (bytes.DumpToSingleSlice(&slice).ok() && message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    return ok_status();
  }
  return invalid_argument("the request is not a message of the expected type");
}

// What both services share on the way from a call to a session.
class Door {
 public:
  Door(Feed& feed, const WatchSettings& settings)
      : feed_(feed),
        settings_(settings),
        host_(settings.streams_max),
        admission_(settings.opens_per_second, settings.opens_burst) {}

  const WatchSettings& settings() const { return settings_; }
  SessionHost& host() { return host_; }

  Status admit(Call& call, const google::protobuf::Message& request, std::optional<Duration>* retry_after) {
    if (settings_.calls != nullptr) HG_RETURN_IF_ERROR(settings_.calls->admission().admit(call, request));
    if (host_.draining()) return unavailable("the server is shutting down");
    Duration wait{};
    const Status status = admission_.admit(call.peer(), &wait);
    if (!status.ok()) *retry_after = wait;
    return status;
  }

  StreamReactor* refuse(const Status& status, std::optional<Duration> retry_after = std::nullopt) {
    if (!status.ok() && status.code() != StatusCode::kCancelled) host_.count_refusal();
    return std::make_unique<EndedReactor>(to_grpc(with_details(status, retry_after))).release();
  }

  StreamReactor* begin(std::shared_ptr<StreamSession> session, SessionHost::Kind kind, StreamRequest request) {
    const Status status = host_.add(session, kind);
    if (!status.ok()) return refuse(status);
    StreamReactor* reactor = std::make_unique<SessionReactor>(session).release();  // deletes itself in OnDone
    session->begin(reactor, feed_, std::move(request));
    return reactor;
  }

 private:
  Feed& feed_;
  const WatchSettings settings_;
  SessionHost host_;
  Admission admission_;
};

class WatchService : public base::v1::Watch::WithRawCallbackMethod_Watch<base::v1::Watch::Service> {
 public:
  explicit WatchService(Door& door) : door_(door) {}

  StreamReactor* Watch(grpc::CallbackServerContext* context, const grpc::ByteBuffer* bytes) override {
    GrpcCall call(*context);
    base::v1::WatchRequest request;
    Status status = parse(*bytes, &request);
    std::optional<Duration> retry_after;
    if (status.ok()) status = door_.admit(call, request, &retry_after);
    if (!status.ok() || !door_.settings().enabled) return door_.refuse(status, retry_after);
    const ReadLimit limit{static_cast<size_t>(std::max(1, door_.settings().buffer_messages)),
                          door_.settings().buffer_bytes};
    auto session = std::make_shared<WatchSession>(door_.host(), context, limit, heartbeat(call));
    return door_.begin(std::move(session), SessionHost::Kind::kWatch,
                       {.tenants = {{request.tenant_id(), request.snap_token()}},
                        .ahead = true,
                        .incarnation = std::string(call.metadata("headgate-incarnation"))});
  }

 private:
  // Plain clients of Permify never ask for any.
  Duration heartbeat(const Call& call) const {
    const std::string_view text = call.metadata("headgate-heartbeat-ms");
    int milliseconds = 0;
    std::from_chars(text.data(), text.data() + text.size(), milliseconds);
    return milliseconds <= 0 ? Duration::zero() : std::max(Duration(milliseconds), door_.settings().heartbeat_min);
  }

  Door& door_;
};

using FeedMethods =
    v1::Feed::WithRawCallbackMethod_Subscribe<v1::Feed::WithCallbackMethod_ReadSnapshot<v1::Feed::Service>>;

class FeedService : public FeedMethods {
 public:
  explicit FeedService(Door& door) : door_(door) {}

  grpc::ServerUnaryReactor* ReadSnapshot(grpc::CallbackServerContext* context, const v1::ReadSnapshotRequest* request,
                                         v1::SnapshotPage* page) override {
    const WatchSettings& settings = door_.settings();
    if (settings.calls != nullptr && settings.read_snapshot) {
      return run_unary(*settings.calls, *settings.read_snapshot, context, request, page);
    }
    context->DefaultReactor()->Finish({grpc::StatusCode::UNIMPLEMENTED, "this server reads no snapshots"});
    return context->DefaultReactor();
  }

  StreamReactor* Subscribe(grpc::CallbackServerContext* context, const grpc::ByteBuffer* bytes) override {
    GrpcCall call(*context);
    v1::SubscribeRequest request;
    Status status = parse(*bytes, &request);
    std::optional<Duration> retry_after;
    if (status.ok()) status = check(request);
    if (status.ok()) status = door_.admit(call, request, &retry_after);
    if (!status.ok()) return door_.refuse(status, retry_after);
    const size_t bytes_max = request.batch_bytes_max() == 0 ? kBatchBytes : request.batch_bytes_max();
    const Duration heartbeat =
        request.heartbeat_interval_ms() == 0 ? kFeedHeartbeat : Duration(request.heartbeat_interval_ms());
    auto session = std::make_shared<FeedSession>(
        door_.host(), context, ReadLimit{kBatchItemsMax, std::min(bytes_max, kBatchBytesMax)},
        std::max(heartbeat, door_.settings().heartbeat_min), door_.settings().limits);
    return door_.begin(std::move(session), SessionHost::Kind::kFeed, translate(request));
  }

 private:
  static Status check(const v1::SubscribeRequest& request) {
    if (request.positions().empty() && !request.all_tenants()) {
      return invalid_argument("a subscription needs all_tenants or at least one position");
    }
    if (request.recent_size() > kRecentMax) {
      return invalid_argument("{} recent transactions are more than the {} that are compared", request.recent_size(),
                              kRecentMax);
    }
    std::set<std::string> seen;
    for (const v1::TenantPosition& position : request.positions()) {
      if (position.tenant_id().empty()) return invalid_argument("a position needs a tenant_id");
      if (!seen.insert(position.tenant_id()).second) {
        return invalid_argument("tenant {} has two positions", position.tenant_id());
      }
    }
    return ok_status();
  }

  static TransactionIdentity identity_of(const v1::TransactionIdentity& given) {
    return {given.xid(), given.started_at_us(), given.tenant_id()};
  }

  static StreamRequest translate(const v1::SubscribeRequest& request) {
    StreamRequest wanted{.notices = true,
                         .all_tenants = request.all_tenants(),
                         .ahead = request.ahead(),
                         .earliest = request.default_start() == v1::START_POLICY_EARLIEST,
                         .others_token = request.default_snap_token(),
                         .incarnation = request.incarnation(),
                         .others_last = identity_of(request.default_last())};
    for (const v1::TransactionIdentity& one : request.recent()) wanted.recent.push_back(identity_of(one));
    wanted.tenants.reserve(static_cast<size_t>(request.positions_size()));
    for (const v1::TenantPosition& position : request.positions()) {
      wanted.tenants.push_back({.tenant = position.tenant_id(),
                                .snap_token = position.snap_token(),
                                .last = identity_of(position.last()),
                                .quiet = position.quiet(),
                                .ahead = position.ahead()});
    }
    return wanted;
  }

  Door& door_;
};

class Services : public WatchServices {
 public:
  Services(Feed& feed, const WatchSettings& settings) : door_(feed, settings), watch_(door_), feed_(door_) {}
  grpc::Service& watch() override { return watch_; }
  grpc::Service& feed() override { return feed_; }
  WatchStats stats() const override { return door_.host().stats(); }
  void drain(Duration window) override { door_.host().drain(window); }

 private:
  mutable Door door_;
  WatchService watch_;
  FeedService feed_;
};

}  // namespace

std::unique_ptr<WatchServices> make_watch_services(Feed& feed, WatchSettings settings) {
  return std::make_unique<Services>(feed, settings);
}

}  // namespace headgate::engine
