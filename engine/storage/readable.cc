#include "engine/storage/readable.h"

#include "base/log.h"
#include "engine/model/errors.h"
#include "engine/storage/sql.h"

namespace headgate::engine {

Status check_readable(const SnapToken& at, const StateFacts& facts) {
  if (lowest_invisible(at) < facts.floor) {
    return status_of(StatusCode::kOutOfRange,
                     "the snap token is older than the history that is kept (it needs xid {}, kept from {}); read "
                     "without a token, or raise the garbage collection window",
                     lowest_invisible(at), facts.floor);
  }
  if (end_of(at) > facts.horizon) {
    if (facts.standby) {
      return unavailable("the read replica has not yet replayed xid {} of the snap token; try again", at.xid);
    }
    return status_of(StatusCode::kOutOfRange,
                     "the snap token is from the future of this database (xid {}); it belongs to another database or "
                     "to one that was restored from a backup",
                     at.xid);
  }
  if (!facts.known) {
    return status_of(StatusCode::kOutOfRange, "xid {} of the snap token is no transaction of this database", at.xid);
  }
  return ok_status();
}

// A page without the row would be a wrong answer, so the read fails; it says which row, because no other error of the
// database helps whoever has to repair it.
Status refuse_unreadable(std::string_view what) {
  const std::string text = fmt::format("{}; repair or delete it", what);
  log_error("row_unreadable", {{"row", text}});
  return api_error(base::v1::ERROR_CODE_SCAN, text);
}

}  // namespace headgate::engine
