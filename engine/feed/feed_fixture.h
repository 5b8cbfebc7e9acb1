// What the tests of the feed share: a client that pulls and records, and the truth to compare with. Only *_test.cc
// files include this.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "engine/feed/feed.h"
#include "engine/storage/history_fixture.h"
#include "engine/storage/postgres_history.h"
#include "tests/support/engine_session.h"
#include "tests/support/validators.h"

namespace headgate::engine {

using testing::EngineSession;
using testing::PostgresDatabase;
using testing::SeenMessage;
using testing::TruthRow;
using testing::wait_until;

inline HistoryOpener opener(const PostgresDatabase& database) {
  return [uri = database.uri()] { return open_history({.uri = uri}); };
}

inline std::string text(const base::v1::DataChange& change) {
  const bool created = change.operation() == base::v1::DataChange::OPERATION_CREATE;
  const std::string what = change.has_tuple() ? change.tuple().entity().id()
                                              : change.attribute().entity().id() + "$" + change.attribute().attribute();
  return (created ? "+" : "-") + what;
}

class NoWakeup : public Wakeup {
 public:
  void wake() override { ++count; }
  std::atomic<int> count = 0;
};

// A client: pulls when asked, and records.
class Client {
 public:
  Client(Feed& feed, StreamRequest request)
      : takes_ahead_(request.notices && request.ahead), stream_(feed.open(std::move(request), wakeup_)) {}
  Client(Feed& feed, const std::string& tenant, const std::string& token = "")
      : Client(feed, StreamRequest{.tenants = {{tenant, token}}}) {}

  // Everything there is at the moment; false when the stream has ended.
  bool pull(ReadLimit limit = {}) {
    while (true) {
      auto pull = stream_->pull(limit);
      if (!pull.ok()) {
        end = pull.status();
        return false;
      }
      if (pull->opening) opening = pull->opening;
      for (auto& notice : pull->notices) notices.push_back(notice);
      for (const FeedItemPtr& item : pull->items) record(*item);
      CHECK(pull->position >= position);
      position = pull->position;
      // A relay takes the end of what is not ahead for a position.
      const bool whole = !pull->items.empty() && !pull->items.back()->more_parts;
      if (takes_ahead_ && whole && !pull->ahead) CHECK(position > pull->items.back()->xid);
      if (pull->idle()) newest = pull->newest;
      if (pull->idle()) return true;
      if (limit.items_max == 1) return true;
    }
  }
  bool open() {
    return wait_until([&] { return !pull() || opening.has_value(); });
  }
  bool receives(size_t count, Duration patience = Duration(10'000)) {
    return wait_until([&] { return pull() && whole() >= count; }, patience);
  }
  bool ends() {
    return wait_until([&] { return !pull(); });
  }
  size_t whole() const {
    return static_cast<size_t>(std::ranges::count_if(seen, [](const SeenMessage& m) { return !m.more_parts; }));
  }
  std::vector<uint64_t> xids() const {
    std::vector<uint64_t> all;
    for (const SeenMessage& message : seen) all.push_back(message.xid);
    return all;
  }
  int wakeups() const { return wakeup_->count; }

  std::optional<StreamOpening> opening;
  std::vector<StreamNotice> notices;
  std::vector<SeenMessage> seen;
  std::vector<std::string> tokens;
  std::vector<std::optional<LifeEvent>> lives;  // beside `seen`
  std::vector<std::string> unreadable;          // "<tenant>/<xid> <rows>"
  uint64_t position = 0;
  TransactionIdentity newest;                          // in front of the position
  std::map<std::string, TransactionIdentity> lasts{};  // of each tenant
  std::vector<TransactionIdentity> recent{};           // all transactions, ascending
  Status end;

 private:
  void record(const FeedItem& item) {
    // A position says that everything below it was sent.
    CHECK(item.xid >= position);
    SeenMessage message{item.tenant, item.xid, item.part, item.more_parts, {}, item.changes};
    base::v1::DataChanges changes;
    REQUIRE(changes.ParseFromString(item.changes));
    if (item.unreadable != nullptr)
      unreadable.push_back(fmt::format("{}/{} {}", item.tenant, item.xid, *item.unreadable));
    const bool has_changes = item.life == nullptr && item.unreadable == nullptr;
    CHECK(has_changes == (changes.snap_token() == item.snap_token));
    lives.push_back(item.life ? *item.life : std::optional<LifeEvent>());
    for (const auto& change : changes.data_changes()) message.changes.push_back(text(change));
    seen.push_back(std::move(message));
    tokens.push_back(item.snap_token);
    if (!item.more_parts) lasts[item.tenant] = identity_of(item);
    if (!item.more_parts && item.life == nullptr) recent.push_back(identity_of(item));
  }

  std::shared_ptr<NoWakeup> wakeup_ = std::make_shared<NoWakeup>();
  bool takes_ahead_;
  std::shared_ptr<FeedStream> stream_;
};

inline std::vector<TruthRow> truth(const PostgresDatabase& database) {
  const auto reader = open_history({.uri = database.uri()});
  REQUIRE(reader.ok());
  std::vector<TruthRow> rows;
  // Not horizon(): the first answer of a reader may wait for transactions of other databases.
  const uint64_t to = (*reader)->now()->xmin;
  for (uint64_t from = 0; from < to;) {
    const auto page = (*reader)->page({from, to}, {}, 100'000);
    REQUIRE(page.ok());
    for (const auto& transaction : page->transactions) {
      TruthRow row{transaction.tenant, transaction.xid, {}, {}};
      for (const auto& change : transaction.changes) {
        const std::string name = text(change);
        (name[0] == '-' ? row.deletes : row.creates).push_back(name.substr(1));
      }
      rows.push_back(std::move(row));
    }
    from = page->next;
  }
  return rows;
}

inline std::string write_token(EngineSession& session, uint64_t xid) {
  const std::string raw = session.value("SELECT snapshot FROM transactions WHERE id = '" + std::to_string(xid) + "'");
  return encode_snap_token(token_of_write(xid, *parse_pg_snapshot(raw)));
}

// Else other sessions see changed tables with a delay.
inline void flush_statistics(EngineSession& session) { session.run("SELECT pg_stat_force_next_flush()"); }

}  // namespace headgate::engine
