// What every token store must do. A backend type gives:
//   Backend();                                             may throw when a server exists but cannot be used
//   const char* missing() const;                           why it cannot run here, nullptr when it can
//   StatusOr<std::unique_ptr<TokenStore>> open(scope);     a store on the same data every time
//   void lose();                                           all data is gone, also while a store is open
//   void write_as_before(tenant, xid, sequence);           a cursor of scope "main" and sink "kafka", written as the
//                                                          version of before identities did; no store is open
#pragma once

#include "relay/tokens/store_settings.h"
#include "tests/support/test_main.h"

namespace headgate::relay::testing {

inline CursorUpdate update_of(const std::string& tenant, uint64_t xid, uint64_t sequence) {
  return {tenant, {"token-" + std::to_string(xid), xid, 0, false, sequence, "7001/1"}};
}

TEST_CASE_TEMPLATE_DEFINE("token store: keeps the contract", Backend, token_store_contract) {
  Backend backend;
  if (backend.missing() != nullptr) HG_SKIP(backend.missing());
  auto opened = backend.open("main");
  REQUIRE_MESSAGE(opened.ok(), describe(opened.status()));
  std::unique_ptr<TokenStore> store = std::move(*opened);
  const StatusOr<Fence> fence = store->acquire("pod-1");
  REQUIRE_MESSAGE(fence.ok(), describe(fence.status()));

  SUBCASE("a new store has no cursors") {
    CHECK(store->ping().ok());
    CHECK(store->load("kafka").value().empty());
  }
  SUBCASE("a commit is read back, also by a store opened later") {
    const Cursor odd{"AAAA+/==", (1ULL << 63) + 7, 4'000'000'000u, true, 12, "70\\01\"{}/2", "9/1\t/\\{\"", "p\t7'"};
    const std::vector<CursorUpdate> updates{
        update_of("t1", 5, 1), {"tenant with 'quotes', {braces} and \\", odd}, {"", {"p", 9, 0, false, 0, ""}}};
    CHECK(store->commit("kafka", updates, *fence).ok());
    store.reset();
    store = std::move(backend.open("main").value());
    const auto cursors = store->load("kafka").value();
    CHECK(cursors.size() == 3);
    CHECK(cursors.at("t1") == updates[0].cursor);
    CHECK(cursors.at("tenant with 'quotes', {braces} and \\") == odd);
    CHECK(cursors.at("") == updates[2].cursor);
  }
  SUBCASE("a later commit replaces, and leaves other tenants and sinks alone") {
    const std::vector<CursorUpdate> first{update_of("t1", 5, 1), update_of("t2", 6, 1)};
    const std::vector<CursorUpdate> second{update_of("t1", 9, 2)};
    CHECK(store->commit("kafka", first, *fence).ok());
    CHECK(store->commit("redis", first, *fence).ok());
    CHECK(store->commit("kafka", second, *fence).ok());
    CHECK(store->load("kafka").value().at("t1").xid == 9);
    CHECK(store->load("kafka").value().at("t2").xid == 6);
    CHECK(store->load("redis").value().at("t1").xid == 5);
  }
  SUBCASE("identity and snapshot go when the next cursor has none") {
    std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
    updates[0].cursor.identity = "5/1000";
    updates[0].cursor.snapshot = "page 7";
    CHECK(store->commit("kafka", updates, *fence).ok());
    CHECK(store->load("kafka").value().at("t1") == updates[0].cursor);
    updates[0].cursor.identity.clear();
    updates[0].cursor.snapshot.clear();
    CHECK(store->commit("kafka", updates, *fence).ok());
    CHECK(store->load("kafka").value().at("t1") == updates[0].cursor);
  }
  SUBCASE("what the version before wrote is read, also over what this version had written") {
    store.reset();
    backend.write_as_before("old", 7, 3);
    store = std::move(backend.open("main").value());
    CHECK(store->load("kafka").value().at("old") == update_of("old", 7, 3).cursor);
    const Fence now = store->acquire("pod-2").value();
    std::vector<CursorUpdate> updates{update_of("old", 8, 4), update_of("new", 8, 1)};
    for (CursorUpdate& update : updates) update.cursor.identity = "8/1000";
    CHECK(store->commit("kafka", updates, now).ok());
    store.reset();
    backend.write_as_before("old", 9, 5);
    store = std::move(backend.open("main").value());
    CHECK(store->load("kafka").value().at("old") == update_of("old", 9, 5).cursor);
    CHECK(store->load("kafka").value().at("new") == updates[1].cursor);
    CHECK(store->acquire("pod-3").value().epoch > now.epoch);
  }
  SUBCASE("the epoch rises also over a store that was lost") {
    store.reset();
    backend.lose();
    store = std::move(backend.open("main").value());
    CHECK(store->load("kafka").value().empty());
    CHECK(store->acquire("pod-2").value().epoch > fence->epoch);
  }
  SUBCASE("a store that loses its data while it is owned tells each sink once, and is nobody else's") {
    const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
    CHECK(store->commit("kafka", updates, *fence).ok());
    backend.lose();
    CHECK(store->commit("kafka", updates, *fence).code() == StatusCode::kDataLoss);
    CHECK(store->commit("kafka", updates, *fence).ok());
    CHECK(store->commit("redis", updates, *fence).code() == StatusCode::kDataLoss);
    CHECK(store->commit("redis", updates, *fence).ok());
    CHECK(store->load("kafka").value().size() == 1);
    const StatusOr<Fence> newer = store->acquire("pod-2");
    REQUIRE(newer.ok());
    CHECK(newer->epoch > fence->epoch);
    CHECK(store->commit("kafka", updates, *fence).code() == StatusCode::kFailedPrecondition);
  }
  SUBCASE("an empty commit is fine") { CHECK(store->commit("kafka", {}, *fence).ok()); }
  SUBCASE("the epoch rises and a stale fence cannot commit") {
    const std::vector<CursorUpdate> old{update_of("t1", 5, 1)};
    const std::vector<CursorUpdate> stale{update_of("t1", 8, 2), update_of("t9", 8, 1)};
    CHECK(store->commit("kafka", old, *fence).ok());
    const StatusOr<Fence> newer = store->acquire("pod-2");
    REQUIRE(newer.ok());
    CHECK(newer->epoch > fence->epoch);
    CHECK(store->commit("kafka", stale, *fence).code() == StatusCode::kFailedPrecondition);
    CHECK(store->load("kafka").value().size() == 1);
    CHECK(store->load("kafka").value().at("t1").xid == 5);
    CHECK(store->commit("kafka", stale, *newer).ok());
  }
  SUBCASE("ten thousand tenants commit at once") {
    std::vector<CursorUpdate> updates;
    for (int i = 0; i < 10'000; ++i) updates.push_back(update_of(fmt::format("tenant-{}", i), i, 1));
    CHECK(store->commit("kafka", updates, *fence).ok());
    CHECK(store->load("kafka").value().size() == 10'000);
  }
  SUBCASE("scopes do not mix") {
    const std::vector<CursorUpdate> updates{update_of("t1", 5, 1)};
    CHECK(store->commit("kafka", updates, *fence).ok());
    store.reset();
    auto other = backend.open("other");
    REQUIRE(other.ok());
    CHECK((*other)->load("kafka").value().empty());
  }
}

}  // namespace headgate::relay::testing
