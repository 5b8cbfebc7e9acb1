// A random walk over two feeds of one database: writers of an engine, and some of whom nobody knows whose they are,
// hold transactions open for any time, commit or give up; tenants are deleted and made again; connections break;
// clients that keep places as a relay does go away and come back, to one feed or the other. In the end every copy is
// what the database holds, and until then every tenant's events came in order, whole and once.
#include <deque>
#include <random>
#include <set>
#include <sstream>

#include "engine/feed/feed_fixture.h"
#include "engine/storage/sql.h"
#include "engine/storage/storage_fixture.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

using Random = std::mt19937_64;

// One that lives as long as its data.
const std::string kLasting = "w0";

// The copy of a subscriber, and the place of a relay: a position for all tenants, and a cursor for each that stands in
// front of it.
class Follower {
 public:
  Follower(std::vector<Feed*> feeds, uint64_t seed, bool ahead)
      : feeds_(std::move(feeds)), random_(seed), ahead_(ahead) {}

  void step() {
    if (stream_ == nullptr || random_() % 8 == 0) connect();
    for (size_t pulls = random_() % 4; pulls > 0; --pulls) pull();
  }
  void pull() {
    if (stream_ == nullptr) connect();
    auto pull = stream_->pull({.items_max = 1 + random_() % 20, .bytes_max = 1 + random_() % 4'000});
    if (!pull.ok()) {
      if (pull.status().code() != StatusCode::kUnavailable) note(describe(pull.status()));
      stream_ = nullptr;
      return;
    }
    for (const StreamNotice& notice : pull->notices) note(notice.tenant + ": " + notice.reason);
    if (pull->opening) incarnation_ = pull->opening->incarnation;
    for (const FeedItemPtr& item : pull->items) take(*item, pull->ahead);
    if (pull->ahead) ++told_ahead;
    if (!pull->items.empty() && !pull->ahead && position > pull->position) note("an end is not the stream's position");
    if (!pull->idle() || pull->position <= position) return;
    position = pull->position;
    newest_ = pull->newest;
  }

  std::map<std::string, std::set<std::string>> rows;  // by tenant
  std::string fault;                                  // the first
  uint64_t position = 0;
  int told_ahead = 0;

 private:
  struct Cursor {
    uint64_t xid = 0;
    std::string token;
    TransactionIdentity last;
  };

  void note(const std::string& text) {
    if (fault.empty()) fault = text + " (behind " + trail_ + ")";
  }

  void connect() {
    StreamRequest request{.notices = true, .all_tenants = true, .ahead = ahead_, .earliest = true};
    if (position != 0) request.others_token = encode_position_token(position);
    request.incarnation = incarnation_;
    request.others_last = newest_;
    request.recent.assign(recent_.begin(), recent_.end());
    for (const auto& [tenant, cursor] : cursors_) {
      if (cursor.xid < position) continue;
      request.tenants.push_back({.tenant = tenant, .snap_token = cursor.token, .last = cursor.last, .ahead = true});
    }
    parts_.clear();
    trail_ += " /";
    stream_ = feeds_[random_() % feeds_.size()]->open(std::move(request), wakeup_);
  }

  void take(const FeedItem& item, bool ahead) {
    const std::string name = fmt::format("{}/{}/{}{}", item.tenant, item.xid, item.part, ahead ? "!" : "");
    trail_ += " " + name;
    if (trail_.size() > 400) trail_.erase(0, trail_.size() - 300);
    Cursor& cursor = cursors_[item.tenant];
    if (item.xid <= cursor.xid) note(name + " came again, or too late");
    if (item.xid < position) note(name + " lies below a position");
    if (!ahead_ && ahead) note(name + " was not asked for");
    if (item.part == 0) parts_.clear();
    if (parts_.size() != item.part) note(name + " is not the next part");
    parts_.push_back(item.changes);
    if (item.more_parts) return;
    for (const std::string& part : std::exchange(parts_, {})) apply(name, part, rows[item.tenant]);
    if (item.life && item.life->kind == LifeEvent::Kind::kRemoved) rows[item.tenant].clear();
    cursor = {item.xid, item.snap_token, identity_of(item)};
    if (!item.life) recent_.push_back(identity_of(item));
    if (recent_.size() > 64) recent_.pop_front();
    // Who takes nothing ahead has its positions from heartbeats alone.
    if (ahead || !ahead_) return;
    position = item.xid + 1;
    newest_ = identity_of(item);
  }

  void apply(const std::string& name, const std::string& bytes, std::set<std::string>& copy) {
    base::v1::DataChanges changes;
    REQUIRE(changes.ParseFromString(bytes));
    for (const base::v1::DataChange& change : changes.data_changes()) {
      const std::string row = text(change);
      const bool fits = row[0] == '+' ? copy.insert(row.substr(1)).second : copy.erase(row.substr(1)) == 1;
      if (!fits) note(name + " does not fit: " + row);
    }
  }

  const std::vector<Feed*> feeds_;
  Random random_;
  const bool ahead_;
  std::shared_ptr<NoWakeup> wakeup_ = std::make_shared<NoWakeup>();
  std::shared_ptr<FeedStream> stream_;
  std::string incarnation_;
  TransactionIdentity newest_;
  std::map<std::string, Cursor> cursors_;
  std::deque<TransactionIdentity> recent_;
  std::vector<std::string> parts_;
  std::string trail_;
};

// A client of base.v1: one tenant, and the token of its last message.
class BaseFollower {
 public:
  BaseFollower(std::vector<Feed*> feeds, uint64_t seed) : feeds_(std::move(feeds)), random_(seed) {}

  void step() {
    if (client_ == nullptr || random_() % 10 == 0) {
      client_ = std::make_unique<Client>(*feeds_[random_() % feeds_.size()],
                                         StreamRequest{.tenants = {{kLasting, token_}}, .ahead = true});
      taken_ = 0;
    }
    const bool stands = client_->pull();
    for (; taken_ < client_->seen.size(); ++taken_) {
      parts_.push_back(client_->seen[taken_]);
      if (parts_.back().part == 0) parts_ = {parts_.back()};
      if (parts_.back().more_parts) continue;
      std::ranges::move(std::exchange(parts_, {}), std::back_inserter(seen));
      token_ = client_->tokens[taken_];
    }
    if (stands) return;
    if (client_->end.code() != StatusCode::kUnavailable) fault = describe(client_->end);
    client_ = nullptr;
  }

  std::vector<SeenMessage> seen;
  std::string fault;

 private:
  const std::vector<Feed*> feeds_;
  Random random_;
  std::unique_ptr<Client> client_;
  size_t taken_ = 0;
  std::string token_ = encode_legacy_token(0);
  std::vector<SeenMessage> parts_;
};

// Everybody who changes the database; on one thread, so nobody may have to wait for a lock.
class Writers {
 public:
  Writers(const PostgresDatabase& database, uint64_t seed) : store_(database), other_(database.uri()), random_(seed) {
    for (int i = 0; i < 6; ++i) slots_.push_back({std::make_unique<EngineSession>(database.uri())});
    for (int i = 1; i < 4; ++i) REQUIRE(store_.store.tenants->create("w" + std::to_string(i), "").ok());
  }

  void step() {
    const size_t roll = random_() % 100;
    Slot& slot = slots_[random_() % slots_.size()];
    if (roll < 3) return replace_tenant();
    if (roll < 5) return break_connections();
    if (roll < 10) return change_schema();
    if (slot.tenant.empty()) return begin(slot);
    if (roll < 45) return try_to_change(slot);
    // Some stay open for long.
    if (is_long(slot) && roll < 90) return;
    end(slot, roll % 10 != 0);
  }
  // The last xid.
  uint64_t settle() {
    for (Slot& slot : slots_) end(slot, true);
    return other_.write("last", "row" + std::to_string(++names_));
  }
  std::map<std::string, std::set<std::string>> rows() {
    std::map<std::string, std::set<std::string>> found;
    for (const std::string tenant : {"w0", "w1", "w2", "w3", "last"}) {
      std::istringstream names(
          other_.value("SELECT string_agg(entity_id, ' ') FROM relation_tuples WHERE tenant_id = '" + tenant +
                       "' AND expired_tx_id = '9223372036854775807'::xid8"));
      for (std::string name; names >> name;) found[tenant].insert(name);
    }
    return found;
  }

 private:
  struct Slot {
    std::unique_ptr<EngineSession> session;
    std::string tenant{};  // of the open transaction
    std::set<std::string> added{}, removed{};
  };

  std::string some_tenant() { return "w" + std::to_string(random_() % 4); }
  bool is_open(const std::string& tenant) const {
    return std::ranges::any_of(slots_, [&](const Slot& slot) { return slot.tenant == tenant; });
  }

  bool is_long(const Slot& slot) const { return &slot < &slots_[2]; }

  // One in five is of somebody unknown.
  void begin(Slot& slot) {
    slot.tenant = some_tenant();
    if (random_() % 5 != 0) {
      slot.session->run(fmt::format("SELECT pg_advisory_lock_shared(" HG_WRITER_LOCK "), pg_advisory_lock_shared({})",
                                    tenant_lock(slot.tenant)));
    }
    slot.session->begin(slot.tenant);
    try_to_change(slot);
  }

  // The server may find that it cannot be serialized.
  void try_to_change(Slot& slot) {
    try {
      change(slot);
    } catch (const pqxx::failure&) {
      end(slot, false);
    }
  }

  void change(Slot& slot) {
    const size_t roll = random_() % 10;
    std::set<std::string>& there = rows_[slot.tenant];
    // Who reads may fail to be serialized, and the long ones would never end well.
    if (roll < 3 && !there.empty() && !is_long(slot)) {
      const auto row = std::next(there.begin(), static_cast<ptrdiff_t>(random_() % there.size()));
      const std::string name = *row;
      slot.removed.insert(name);
      there.erase(row);  // nobody else removes it meanwhile
      slot.session->remove(name);
      return;
    }
    const std::string name = "r" + std::to_string(++names_);
    const int count = roll == 9 ? 60 : 1;
    if (count == 1) {
      slot.session->add(name);
      slot.added.insert(name);
      return;
    }
    slot.session->add_many(count, name + "_");
    for (int i = 1; i <= count; ++i) slot.added.insert(name + "_" + std::to_string(i));
  }

  void end(Slot& slot, bool commit) {
    if (slot.tenant.empty()) return;
    bool committed = commit;
    try {
      slot.session->run(commit ? "COMMIT" : "ROLLBACK");
    } catch (const pqxx::failure&) {  // not serializable
      committed = false;
    }
    slot.session->run("SELECT pg_advisory_unlock_all()");
    std::set<std::string>& there = rows_[slot.tenant];
    there.merge(committed ? slot.added : slot.removed);
    slot.added.clear();
    slot.removed.clear();
    slot.tenant.clear();
  }

  void replace_tenant() {
    const std::string tenant = some_tenant();
    if (tenant == kLasting || is_open(tenant)) return;
    REQUIRE(store_.store.tenants->remove(tenant).ok());
    rows_[tenant].clear();
    REQUIRE(store_.store.tenants->create(tenant, "").ok());
  }
  void change_schema() {
    const std::string tenant = some_tenant();
    if (tenant == kLasting || is_open(tenant)) return;
    REQUIRE(store_.store.schemas->write(tenant, {{"user", "entity user {}"}}, {}).ok());
  }
  // Of the feeds and their helpers.
  void break_connections() {
    other_.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'headgate-feed'");
  }

  StorageFixture store_;
  EngineSession other_;
  Random random_;
  std::vector<Slot> slots_;
  std::map<std::string, std::set<std::string>> rows_;  // that can be removed, by tenant
  int names_ = 0;
};

FeedSettings hurried() {
  FeedSettings settings{.ring = {.bytes_max = 20'000}, .part_bytes_max = 600, .ahead_after = Duration(3)};
  settings.ahead_interval = Duration(1);
  settings.large_changes = 40;
  settings.catch_up_bytes = 2'000;
  settings.removal_interval = Duration(20);
  return settings;
}

// How many answers were ahead.
int walk(const PostgresDatabase& database, uint64_t seed) {
  CAPTURE(seed);
  Writers writers(database, seed);
  const HistoryOpener opener = [uri = database.uri()] {
    return open_history({.uri = uri, .application_name = "headgate-feed"});
  };
  Feed one(opener, hurried()), other(opener, hurried());
  const std::vector<Feed*> feeds{&one, &other};
  std::vector<Follower> followers;
  for (uint64_t i = 0; i < 4; ++i) followers.emplace_back(feeds, seed + i, i != 3);
  BaseFollower base(feeds, seed);
  Random random(seed);
  for (int i = 0; i < 500; ++i) {
    writers.step();
    for (Follower& follower : followers) {
      if (random() % 3 == 0) follower.step();
    }
    if (random() % 4 == 0) base.step();
  }
  const uint64_t last = writers.settle();
  const std::map<std::string, std::set<std::string>> rows_there = writers.rows();
  int told_ahead = 0;
  for (Follower& follower : followers) {
    wait_until([&] {
      follower.pull();
      return !follower.fault.empty() || follower.position > last;
    });
    CHECK(follower.fault == "");
    CHECK(follower.position > last);
    std::erase_if(follower.rows, [](const auto& copy) { return copy.second.empty(); });
    CHECK(follower.rows == rows_there);
    told_ahead += follower.told_ahead;
  }
  const std::vector<TruthRow> rows = truth(database);
  const auto complete = [&] { return check_complete(rows, base.seen, kLasting, 0); };
  wait_until([&] {
    base.step();
    return complete().empty();
  });
  CHECK(complete() == "");
  CHECK(base.fault == "");
  CHECK(check_atomic(rows, base.seen) == "");
  return told_ahead;
}

}  // namespace

TEST_SUITE("feed/ahead_walk") {
  TEST_CASE("walk: whatever is in progress, copies are exact, and events whole, in order and once") {
    const char* given = std::getenv("HEADGATE_ROBUSTNESS_SEED");
    std::vector<uint64_t> seeds = {1, 2, 3};
    if (given != nullptr) seeds = {std::strtoull(given, nullptr, 10)};
    int told_ahead = 0;
    for (const uint64_t seed : seeds) {
      HG_PREPARED(database);
      told_ahead += walk(*database, seed);
    }
    if (given == nullptr) CHECK(told_ahead > 0);
  }
}

}  // namespace headgate::engine
