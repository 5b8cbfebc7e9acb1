#include "base/log.h"
#include "engine/model/reasons.h"
#include "engine/rpc/methods.h"

namespace headgate::engine {
namespace {

constexpr size_t kPageBytes = 128 << 10;
// Below what a client of gRPC takes unless it is told to take more.
constexpr size_t kPageBytesMax = 3 << 20;

// 0 for an empty token.
StatusOr<uint64_t> position_of(const std::string& text) {
  if (text.empty()) return uint64_t{0};
  const auto token = decode_snap_token(text);
  if (!token.ok()) return refusal(StatusCode::kInvalidArgument, kMalformedToken, message_of(token.status()));
  const bool one_xid = token->form == SnapToken::Form::kLegacy && token->xid != 0;
  if (!token->is_position() && !one_xid) {
    return refusal(StatusCode::kInvalidArgument, kMalformedToken,
                   "a snapshot is read at a position; take one of Opened, of a Heartbeat or of the page before");
  }
  return token->xid + 1;
}

class SnapshotHandlers {
 public:
  SnapshotHandlers(SnapshotReader& reader, std::function<uint64_t()> complete)
      : reader_(reader), complete_(std::move(complete)) {}

  StatusOr<v1::SnapshotPage> read(const v1::ReadSnapshotRequest& request, Call& call) {
    SnapshotQuery query{.tenant = request.tenant_id(), .continuation = request.continuation(), .complete = complete_()};
    HG_ASSIGN_OR_RETURN(query.position, position_of(request.snap_token()));
    const size_t asked = request.page_bytes_max() == 0 ? kPageBytes : request.page_bytes_max();
    query.bytes_max = std::min(asked, kPageBytesMax);
    HG_ASSIGN_OR_RETURN(SnapshotState state, reader_.read(query, [&] { return call.wanted(); }));
    v1::SnapshotPage page;
    page.set_snap_token(encode_position_token(state.position));
    page.set_position(state.position);
    page.set_changes(std::move(state.changes));
    page.set_continuation(std::move(state.continuation));
    page.set_incarnation(std::move(state.incarnation));
    page.set_schema_version(std::move(state.schema_version));
    page.set_unreadable_rows(state.unreadable.rows);
    for (std::string& row : state.unreadable.texts) {
      log_error("row_unreadable", {{"tenant", request.tenant_id()}, {"snapshot", state.position}, {"row", row}});
      page.add_unreadable(std::move(row));
    }
    if (state.newest) {
      page.mutable_newest()->set_xid(state.newest->xid);
      page.mutable_newest()->set_started_at_us(state.newest->started_at_us);
      page.mutable_newest()->set_tenant_id(state.newest->tenant);
    }
    return page;
  }

 private:
  SnapshotReader& reader_;
  const std::function<uint64_t()> complete_;
};

}  // namespace

SnapshotMethod make_snapshot_method(Metrics& metrics, SnapshotReader& reader, std::function<uint64_t()> complete) {
  const auto handlers = std::make_shared<SnapshotHandlers>(reader, std::move(complete));
  return make_method(metrics, "Feed.ReadSnapshot", {}, handlers, &SnapshotHandlers::read);
}

}  // namespace headgate::engine
