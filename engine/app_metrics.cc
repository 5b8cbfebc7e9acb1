#include "engine/app_metrics.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace headgate::engine {
namespace {

template <typename Read>
std::function<double()> number(Read read) {
  return [read] { return static_cast<double>(read()); };
}

double unknown_holders(const FeedStats& feed) {
  return static_cast<double>(std::ranges::count_if(feed.holding, &RunningTransaction::may_be_anybodys));
}

}  // namespace

void add_call_metrics(Metrics& m, const std::function<CallLoad()>& load, const Pool& pool,
                      const HealthChecker& health) {
  m.gauge_from("headgate_engine_calls_running", "Unary calls under way.", {},
               number([load] { return load().running; }));
  m.gauge_from("headgate_engine_calls_waiting", "Unary calls that wait for a worker or for a connection.", {},
               number([load] { return load().waiting; }));
  m.gauge_from("headgate_engine_database_connections", "Open connections for calls.", {},
               number([&pool] { return pool.open(); }));
  m.gauge_from("headgate_engine_database_connections_limit",
               "What the open ones may be: fewer while the server gives no more.", {},
               number([&pool] { return pool.limit(); }));
  m.gauge_from("headgate_engine_database_connections_in_use", "Connections that run a statement.", {},
               number([load] { return load().connections_in_use; }));
  m.gauge_from("headgate_engine_serving", "1 while the database answers.", {},
               number([&health] { return health.serving() ? 1 : 0; }));
}

void add_connection_metrics(Metrics& m, const std::function<ListenerStats()>& stats) {
  m.gauge_from("headgate_engine_connections", "Open connections to gRPC.", {},
               number([stats] { return stats().open; }));
  m.gauge_from("headgate_engine_connections_max", "How many there may be.", {},
               number([stats] { return stats().room; }));
  m.counter_from("headgate_engine_connections_accepted_total", "Connections taken.", {},
                 number([stats] { return stats().accepted; }));
  const char* const refused = "headgate_engine_connections_refused_total";
  const char* const help =
      "Connections refused, by the limit that was reached; resources: out of descriptors; memory: it is short.";
  for (size_t why = 1; why < kRefusalNames.size(); ++why) {
    m.counter_from(refused, help, {{"limit", kRefusalNames[why]}},
                   number([stats, why] { return stats().refused[why]; }));
  }
  m.counter_from("headgate_engine_connections_ended_for_memory_total",
                 "Connections ended because memory rose and nothing came of what they sent.", {},
                 number([stats] { return stats().ended_for_memory; }));
  m.counter_from("headgate_engine_connections_ended_without_call_total",
                 "Connections ended because they talked and made no call that was let in.", {},
                 number([stats] { return stats().ended_without_call; }));
  m.gauge_from("headgate_engine_short_of_resources", "1 while clients are refused for want of descriptors or memory.",
               {}, number([stats] { return stats().short_of_resources ? 1 : 0; }));
}

void add_feed_metrics(Metrics& m, const Feed& feed, const WatchServices& watch) {
  const auto of_feed = [&feed](auto member) { return number([&feed, member] { return feed.stats().*member; }); };
  const auto of_watch = [&watch](auto member) { return number([&watch, member] { return watch.stats().*member; }); };
  m.gauge_from("headgate_engine_feed_connected", "1 while the feed reads the history.", {},
               of_feed(&FeedStats::connected));
  m.gauge_from("headgate_engine_feed_horizon_xid", "Every transaction below it has been read.", {},
               of_feed(&FeedStats::horizon));
  m.gauge_from("headgate_engine_feed_horizon_lag_xids", "Distance of the ring's end to the horizon.", {},
               of_feed(&FeedStats::horizon_lag));
  m.gauge_from("headgate_engine_feed_ring_bytes", "Recent changes in memory.", {}, of_feed(&FeedStats::ring_bytes));
  m.gauge_from("headgate_engine_feed_ring_messages", "Recent messages in memory.", {},
               of_feed(&FeedStats::ring_messages));
  m.gauge_from("headgate_engine_feed_streams", "Streams on the feed.", {}, of_feed(&FeedStats::streams));
  m.gauge_from("headgate_engine_feed_streams_catching_up", "Streams that read history from the database.", {},
               of_feed(&FeedStats::streams_catching_up));
  m.counter_from("headgate_engine_feed_polls_total", "Looks at the database.", {}, of_feed(&FeedStats::polls));
  m.counter_from("headgate_engine_feed_poll_seconds_total", "Time the feed's thread spent in the database.", {},
                 of_feed(&FeedStats::poll_seconds));
  m.counter_from("headgate_engine_feed_transactions_total", "Transactions read.", {},
                 of_feed(&FeedStats::transactions));
  m.counter_from("headgate_engine_feed_changes_bytes_total", "Bytes of changes read.", {},
                 of_feed(&FeedStats::changes_bytes));
  m.counter_from("headgate_engine_feed_catch_up_pages_total", "Pages read for streams behind the ring.", {},
                 of_feed(&FeedStats::pages_caught_up));
  m.counter_from("headgate_engine_feed_reconnects_total", "Connections made again.", {},
                 of_feed(&FeedStats::reconnects));
  m.counter_from("headgate_engine_feed_audited_total", "Transactions counted by the auditor.", {},
                 of_feed(&FeedStats::audited));
  m.counter_from("headgate_engine_feed_audit_missing_total", "Of these, not delivered by the feed; a fault unless 0.",
                 {}, of_feed(&FeedStats::audit_missing));
  m.counter_from("headgate_engine_feed_unreadable_rows_total",
                 "Stored rows that are no values; each is a gap to its tenant's subscribers, and a line in the log.",
                 {}, of_feed(&FeedStats::unreadable_rows));
  m.counter_from("headgate_engine_feed_ahead_total",
                 "Transactions told in front of the horizon, which another tenant's held back.", {},
                 of_feed(&FeedStats::ahead));
  m.gauge_from("headgate_engine_feed_held_seconds", "How long transactions in progress have held the horizon back.", {},
               of_feed(&FeedStats::held_seconds));
  m.gauge_from("headgate_engine_feed_held_by_unknown",
               "Transactions in progress that hold all tenants back, because nobody knows whose they are.", {},
               number([&feed] { return unknown_holders(feed.stats()); }));
  m.gauge_from("headgate_engine_watch_streams", "Open streams.", {{"service", "watch"}},
               of_watch(&WatchStats::watch_streams));
  m.gauge_from("headgate_engine_watch_streams", "Open streams.", {{"service", "feed"}},
               of_watch(&WatchStats::feed_streams));
  m.counter_from("headgate_engine_watch_opened_total", "Streams opened.", {}, of_watch(&WatchStats::opened));
  m.counter_from("headgate_engine_watch_refused_total", "Streams refused.", {}, of_watch(&WatchStats::refused));
  m.counter_from("headgate_engine_watch_failed_total", "Streams ended by an error of ours.", {},
                 of_watch(&WatchStats::failed));
  m.counter_from("headgate_engine_watch_messages_total", "Messages sent.", {}, of_watch(&WatchStats::messages));
  m.counter_from("headgate_engine_watch_bytes_total", "Bytes of messages sent.", {}, of_watch(&WatchStats::bytes));
}

nlohmann::ordered_json feed_status(const FeedStats& feed, const WatchStats& watch) {
  nlohmann::ordered_json holding = nlohmann::ordered_json::array();
  for (const RunningTransaction& one : feed.holding) {
    holding.push_back({{"xid", one.xid},
                       {"pid", one.holder.backend},
                       {"application", one.holder.application},
                       {"all_tenants", one.may_be_anybodys()}});
  }
  return {{"connected", feed.connected},
          {"horizon", feed.horizon},
          {"horizon_lag", feed.horizon_lag},
          {"held_seconds", feed.held_seconds},
          {"held_by", std::move(holding)},
          {"ahead", feed.ahead},
          {"ring_bytes", feed.ring_bytes},
          {"ring_messages", feed.ring_messages},
          {"streams", {{"watch", watch.watch_streams}, {"feed", watch.feed_streams}}},
          {"streams_catching_up", feed.streams_catching_up},
          {"audit_missing", feed.audit_missing},
          {"unreadable_rows", feed.unreadable_rows}};
}

}  // namespace headgate::engine
