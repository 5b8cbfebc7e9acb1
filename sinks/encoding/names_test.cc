#include <set>

#include "sinks/encoding/names.h"
#include "sinks/encoding/route.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {

TEST_SUITE("encoding/names") {
  TEST_CASE("names: golden texts") {
    CHECK(encode_name(NameTarget::kKafka, "a.b_c") == "a_2Eb_5Fc");
    CHECK(encode_name(NameTarget::kNats, "a.b_c*") == "a%2Eb_c%2A");
    CHECK(encode_name(NameTarget::kRedis, "a:{b}%") == "a%3A%7Bb%7D%25");
    CHECK(encode_name(NameTarget::kKafka, "") == "_z");
    CHECK(encode_header_value("a b\"%\xc3\xa4") == "a%20b%22%25%C3%A4");
  }

  TEST_CASE("names: every pair of bytes comes back and collides with nothing") {
    for (const auto target : {NameTarget::kKafka, NameTarget::kNats, NameTarget::kRedis}) {
      std::set<std::string> seen;
      const auto take = [&](const std::string& name) {
        const std::string text = encode_name(target, name);
        REQUIRE(seen.insert(text).second);
        const auto back = decode_name(target, text);
        REQUIRE(back.ok());
        REQUIRE(*back == name);
        REQUIRE(decode_header_value(encode_header_value(name)) == name);
      };
      take("");
      for (int a = 0; a < 256; ++a) {
        take(std::string(1, static_cast<char>(a)));
        for (int b = 0; b < 256; ++b) take({static_cast<char>(a), static_cast<char>(b)});
      }
      CHECK(!decode_name(target, "").ok());
    }
    CHECK(!decode_name(NameTarget::kNats, "%41").ok());  // 'A' is plain: only one encoding is right
    CHECK(!decode_name(NameTarget::kNats, "%2e").ok());
  }
}

TEST_SUITE("encoding/route") {
  TEST_CASE("route: puts names in") {
    const auto route = Route::parse(NameTarget::kNats, "{prefix}.{tenant}.changes", "hg");
    REQUIRE(route.ok());
    CHECK(*route->render_tenant("a.b") == "hg.a%2Eb.changes");
    const auto key = Route::parse(NameTarget::kRedis, "{prefix}:{{{tenant}}}:changes", "hg");
    REQUIRE(key.ok());
    CHECK(*key->render_tenant("a.b") == "hg:{a.b}:changes");
  }

  TEST_CASE("route: by entity type is refused, and the text says what to do instead") {
    const auto route = Route::parse(NameTarget::kKafka, "{tenant}.{entity_type}", "");
    CHECK(route.status().code() == StatusCode::kInvalidArgument);
    CHECK(message_of(route.status()).find("entitytypes") != std::string::npos);
  }

  TEST_CASE("route: tells whose text it is") {
    const auto tenant_of = [](std::string_view text, std::string_view of) {
      return Route::parse(NameTarget::kKafka, text, "p")->tenant_of(of);
    };
    for (const std::string tenant : {"t1", "a.b_c", "", "-x"}) {
      for (const std::string text :
           {"{tenant}", "{prefix}.{tenant}", "{prefix}-{tenant}-x", "{tenant}.{tenant}", "{tenant}.x"}) {
        const auto route = Route::parse(NameTarget::kKafka, text, "p");
        CHECK(route->tenant_of(*route->render_tenant(tenant)) == tenant);
      }
    }
    CHECK_FALSE(tenant_of("p.{tenant}", "q.t1").has_value());
    CHECK_FALSE(tenant_of("p.{tenant}", "p.a.b").has_value());
    CHECK_FALSE(tenant_of("p.{tenant}", "p.").has_value());
    CHECK_FALSE(tenant_of("{tenant}.{tenant}", "a.b").has_value());
    CHECK(tenant_of("all", "all").has_value());
    CHECK_FALSE(tenant_of("all", "other").has_value());
  }

  TEST_CASE("route: refuses templates that could collide or never work") {
    const auto code = [](NameTarget target, std::string_view text) {
      return Route::parse(target, text, "p").status().code();
    };
    CHECK(code(NameTarget::kKafka, "{tenant}{tenant}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "{tenant}-{tenant}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "{tenant}.{tenant}") == StatusCode::kOk);
    CHECK(code(NameTarget::kRedis, "{tenant}.{tenant}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kRedis, "{tenant}:{tenant}") == StatusCode::kOk);
    CHECK(code(NameTarget::kKafka, "{tenannt}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "a b") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "..") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, std::string(250, 'a')) == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "a.{tenant") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "a.>") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "a..{tenant}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "{tenant}.") == StatusCode::kInvalidArgument);
  }

  TEST_CASE("route: a name that is too long is refused, not cut") {
    const auto route = Route::parse(NameTarget::kKafka, "t.{tenant}", "");
    REQUIRE(route.ok());
    CHECK(route->render_tenant(std::string(128, 'a')).ok());
    CHECK(route->render_tenant(std::string(128, '.')).status().code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace headgate::sinks
