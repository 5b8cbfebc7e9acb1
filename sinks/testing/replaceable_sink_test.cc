#include "sinks/replaceable_sink.h"

#include "sinks/testing/fake_sink.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {

TEST_SUITE("sinks/replaceable") {
  TEST_CASE("replaceable: the other sink is opened in place of the first, and gets what was not written") {
    auto first = std::make_unique<FakeSink>("kafka");
    auto second = std::make_unique<FakeSink>("kafka");
    FakeSink& renewed = *second;
    const auto next = std::make_shared<Replacement>();
    const auto sink = make_replaceable_sink(std::move(first), next);
    REQUIRE(sink->open({}).ok());
    auto event = std::make_shared<Event>();
    event->tenant = "t";
    const std::vector<Delivery> deliveries{{.event = event, .sequence = 1}};
    CHECK(sink->write({deliveries, {}}, {}).status.ok());
    next->set(std::move(second));
    const WriteResult refused = sink->write({deliveries, {}}, {});
    CHECK(refused.status.code() == StatusCode::kUnavailable);
    CHECK(refused.written == 0);
    CHECK(sink->heartbeat({}, {}).code() == StatusCode::kUnavailable);
    CHECK_FALSE(renewed.is_open());
    REQUIRE(sink->open({}).ok());
    CHECK(sink->write({deliveries, {}}, {}).written == 1);
    CHECK(renewed.count() == 1);
    CHECK(sink->info().name == "kafka");
  }
}

}  // namespace headgate::sinks
