// What anybody may send to the admin ports: one whole request, or any bytes.
#include <set>

#include "base/http_server.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

constexpr size_t kAnswerMax = 64 * 1024;  // echoes are no longer than what came

struct Parsed {
  int status = 0;
  std::optional<size_t> length;
  std::string body;
};

Parsed parse(const std::string& answer) {
  Parsed parsed;
  const size_t end = answer.find("\r\n\r\n");
  demand(answer.rfind("HTTP/1.1 ", 0) == 0 && end != std::string::npos, "no answer of HTTP: {}", answer);
  parsed.status = std::atoi(answer.c_str() + 9);
  parsed.body = answer.substr(end + 4);
  std::set<std::string> names;
  for (Input lines(std::string_view(answer).substr(0, end + 2)); !lines.at_end();) {
    const std::string_view line = lines.line();
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string name(line.substr(0, colon));
    demand(names.insert(name).second || name != "Content-Length", "two lengths: {}", answer);
    if (name == "Content-Length") parsed.length = std::strtoull(line.data() + colon + 1, nullptr, 10);
    demand(name != "X-Injected", "a header of the client's is in the answer: {}", answer);
  }
  return parsed;
}

}  // namespace

void admin_http_target(std::string_view input) {
  HttpServer server({});
  int calls = 0;
  const auto echo = [&](const HttpRequest& request) {
    ++calls;
    demand(request.body.size() <= HttpServer::kBodyMax, "{} bytes of a body are let in", request.body.size());
    for (const std::string& part : request.parts) demand(!part.empty(), "an empty part of a path");
    return HttpResponse{200, "text/plain; charset=utf-8", request.path + "\n" + request.body};
  };
  server.route("/livez", echo);
  server.route("/tenants/{}", echo);
  server.route_post("/tenants/{}/resume", echo);
  const std::string answer = server.answer(std::string(input));
  demand(calls <= 1, "{} handlers for one request", calls);
  // Who hangs up in front of his first line is owed nothing.
  if (answer.empty()) return demand(calls == 0, "a request without an answer");
  const Parsed parsed = parse(answer);
  static const std::set<int> kKnown = {200, 206, 400, 404, 405, 411, 413, 414, 415, 416, 417, 431};
  demand(kKnown.count(parsed.status) > 0, "status {}: {}", parsed.status, answer);
  demand(calls == 1 || parsed.status != 200 || answer.find("GET  /livez") != std::string::npos || parsed.body.empty(),
         "nobody said what is answered: {}", answer);
  demand(answer.size() <= kAnswerMax + 2 * input.size(), "{} bytes of answer to {}", answer.size(), input.size());
  if (parsed.length && !parsed.body.empty()) {
    demand(parsed.body.size() == *parsed.length, "{} bytes, {} were told", parsed.body.size(), *parsed.length);
  }
}

}  // namespace headgate::fuzz
