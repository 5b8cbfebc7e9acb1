#include "tests/support/load.h"

#include <array>
#include <random>

#include "tests/support/engine_client.h"
#include "tests/support/engine_session.h"
#include "tests/support/test_main.h"

namespace headgate::testing {

Load::Load(const LoadOptions& options) : options_(options) {
  for (int i = 0; i < options_.api_writers; ++i) {
    threads_.emplace_back([this, i] { write_by_api(i); });
  }
  for (int i = 0; i < options_.sql_writers; ++i) {
    threads_.emplace_back([this, i] {
      int step = 0;
      do {
        try {
          write_by_sql(options_.api_writers + i, step);
        } catch (const std::exception& error) {
          if (!options_.through_outages) return fault(std::string("a writer in SQL ended: ") + error.what());
          settle(false);
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
      } while (more());
    });
  }
}

Load::~Load() { stop(); }

void Load::stop() {
  stopping_ = true;
  threads_.clear();
}

std::vector<std::string> Load::faults() const {
  std::lock_guard lock(mutex_);
  return faults_;
}

bool Load::wait_for(size_t transactions, std::chrono::milliseconds timeout) const {
  return wait_until([&] { return committed_ >= transactions || !faults().empty(); }, timeout) &&
         committed_ >= transactions;
}

void Load::fault(const std::string& text) {
  std::lock_guard lock(mutex_);
  if (faults_.size() < 20) faults_.push_back(text);
}

void Load::settle(bool committed) { ++(committed ? committed_ : conflicts_); }

// Holds a writer back to the common rate.
void Load::pace() {
  const size_t turn = started_++;
  if (options_.rate <= 0) return;
  const auto due = begin_ + std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::duration<double>(static_cast<double>(turn) / options_.rate));
  while (!stopping_ && std::chrono::steady_clock::now() < due) {
    std::this_thread::sleep_until(std::min(due, std::chrono::steady_clock::now() + std::chrono::milliseconds(50)));
  }
}

bool Load::more() { return !stopping_ && committed_ < options_.transactions; }

namespace {

// What one writer does next: mostly single tuples, now and then the rest of what clients do.
WriteAnswer one_call(EngineClient& client, const std::string& tenant, const std::string& id, int step,
                     const std::string& earlier) {
  const std::string doc = "doc:" + id;
  switch (step % 10) {
    case 0:
      return client.write(tenant, {tuple_of(doc + "#owner@user:a"), tuple_of(doc + "#viewer@group:eng#member")},
                          {make_boolean("doc", id, "public", true)});
    case 1: return client.remove(tenant, "doc", earlier);
    case 2: return client.write(tenant, {}, {make_integer("doc", "shared", "size", step)});
    case 3: return client.write(tenant, {tuple_of("doc:" + earlier + "#owner@user:a")});
    case 4: return client.write(tenant, {tuple_of("doc:" + earlier + "#owner@user:a")});
    default: return client.write(tenant, {tuple_of(doc + "#owner@user:a")});
  }
}

bool may_happen(const grpc::Status& status, bool through_outages) {
  if (through_outages && (status.error_code() == grpc::StatusCode::INTERNAL ||
                          status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ||
                          status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)) {
    return true;
  }
  return status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::ABORTED ||
         status.error_message() == "ERROR_CODE_ERROR_MAX_RETRIES";
}

}  // namespace

void Load::write_by_api(int writer) {
  EngineClient client(options_.engine);
  std::string earlier = "none";
  for (int step = 0; more(); ++step) {
    pace();
    const std::string& tenant = options_.tenants[static_cast<size_t>(writer + step) % options_.tenants.size()];
    const std::string id = options_.prefix + std::to_string(writer) + "-" + std::to_string(step);
    const WriteAnswer answer = one_call(client, tenant, id, step, earlier);
    if (!answer.status.ok() && !may_happen(answer.status, options_.through_outages)) {
      return fault("a write failed: " + std::to_string(answer.status.error_code()) + " " +
                   answer.status.error_message());
    }
    settle(answer.status.ok());
    if (step % 10 == 0 || step % 10 > 4) earlier = id;
  }
}

void Load::write_by_sql(int writer, int& step) {
  constexpr size_t kOpen = 3;
  std::minstd_rand random(static_cast<unsigned>(writer));
  std::vector<std::unique_ptr<EngineSession>> sessions;
  for (size_t i = 0; i < kOpen; ++i) sessions.push_back(std::make_unique<EngineSession>(options_.database));
  for (; more(); ++step) {
    std::array<size_t, kOpen> order = {0, 1, 2};
    std::array<bool, kOpen> alive{};
    const auto attempt = [&](size_t i, auto action) {
      try {
        action(*sessions[i]);
        return true;
      } catch (const pqxx::transaction_rollback&) {  // not serialisable, or a deadlock
        settle(false);
        sessions[i]->rollback();
        return false;
      }
    };
    for (const size_t i : order) {
      pace();
      const std::string& tenant =
          options_.tenants[(static_cast<size_t>(writer + step) + i / 2) % options_.tenants.size()];
      const std::string id =
          options_.prefix + std::to_string(writer) + "-" + std::to_string(step) + "-" + std::to_string(i);
      alive[i] = attempt(i, [&](EngineSession& session) {
        session.begin(tenant);
        session.add(id);
        if (step % 7 == 0) session.set(id, "public", R"({"@type": "type.googleapis.com/base.v1.BooleanValue"})");
      });
    }
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) {
      if (!alive[i]) continue;
      if (step % 11 == 0 && i == 1) {
        sessions[i]->rollback();
      } else if (attempt(i, [](EngineSession& session) { session.commit(); })) {
        settle(true);
      }
    }
  }
}

}  // namespace headgate::testing
