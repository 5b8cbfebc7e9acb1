// A collector that finds everything older than it is, where the shortest window that it accepts is longer than a test.
#pragma once

#include <doctest/doctest.h>

#include "tests/support/engine_session.h"

namespace headgate::testing {

// While this lives, statements of connections that are opened meanwhile see a clock that is `by` (an SQL interval)
// ahead; a collector opens one for each turn. Rows keep their times: a transaction whose time changes is another one,
// and its history counts as replaced. What is inserted gets its time from the column's default, which is not ahead.
// Holds last as long as without. REQUIRES: an engine has made its tables.
class Ahead {
 public:
  Ahead(const std::string& uri, std::string by) : sql_(uri), by_(std::move(by)) {
    database_ = sql_.value("SELECT quote_ident(current_database())");
    sql_.run("BEGIN");
    set("pg_catalog.now() + interval '" + by_ + "'");
    sql_.run("ALTER DATABASE " + database_ + " SET search_path = public, pg_catalog");
    sql_.run("UPDATE headgate.gc_holds SET expires_at = expires_at + interval '" + by_ + "'");
    sql_.run("COMMIT");
  }
  ~Ahead() {
    try {
      sql_.run("BEGIN");
      set("pg_catalog.now()");
      sql_.run("ALTER DATABASE " + database_ + " RESET search_path");
      sql_.run("UPDATE headgate.gc_holds SET expires_at = expires_at - interval '" + by_ + "'");
      sql_.run("COMMIT");
    } catch (const std::exception& error) {
      MESSAGE("the clock stays ahead: " << error.what());
    }
  }
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

 private:
  void set(const std::string& now) {
    sql_.run("CREATE OR REPLACE FUNCTION public.now() RETURNS timestamptz STABLE LANGUAGE sql AS $$SELECT " + now +
             "$$");
  }

  EngineSession sql_;
  const std::string by_;
  std::string database_;
};

}  // namespace headgate::testing
