// Recorded answers of another server of base.v1, played against ours.
//
// Cases are tests/cases/observed/*.jsonl, one scenario a line: {name, tenant?, keep?, steps}. A step is
//   {call: "Data.Write", body, save?: {variable: path}, times?: n, any?: {path: [type_url, base64]}, expect}
//   {watch: {tenant_id, snap_token}, then: [steps], count?, expect_within: seconds, expect}
// `expect` is {code, message?, response?, codes?} or, for streams, {messages, end, then}. Texts of requests: ${T} and
// ${Z} are tenant ids made for every run, ${name} a saved value, ${rep:x:128} a repetition, ${b64:text} base64, ${i}
// and
// ${i4} the number of a repetition; {$repeat: n, item: x} in a list stands for n items.
//
// Compared is what clients rely on; values that differ between runs are replaced by their names, see kHidden.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace headgate::testing {

using Json = nlohmann::json;

// Variables of one run of a scenario, and the rewriting of texts with them in both directions.
class Texts {
 public:
  explicit Texts(std::string run_id);
  // Replaces ${...} everywhere in `value`; `number` is that of the repetition.
  Json fill(const Json& value, int number = 0) const;
  // The comparable form of an answer. `keep`: names that are not hidden.
  Json canonical(const Json& answer, const std::set<std::string>& keep) const;
  // True for a tenant that this run made up.
  bool is_of_this_run(const std::string& tenant) const;
  // Stores the value at `path` ("schemas.0.version") of `answer`; an empty text when there is none.
  void save(const std::string& variable, const std::string& path, const Json& answer);

 private:
  std::string value_of(const std::string& name, int number) const;
  std::string fill_text(std::string text, int number) const;
  Json canonical(const Json& value, const std::string& key, const std::set<std::string>& keep) const;

  std::map<std::string, std::string> variables_;
};

// One difference: where, what was recorded, what came ("<absent>" for nothing).
struct Difference {
  std::string path;
  std::string expected;
  std::string got;
};
std::vector<Difference> compare(const Json& expected, const Json& got);

// A wanted difference. `got` replaces what was recorded at `path` ("" is the whole of `expect`); with `any` instead,
// whatever came is right as long as it differs. A deviation that does not occur is a failure.
struct Deviation {
  std::string scenario;  // "*": any
  int step = 0;          // from 1; 0: any
  std::string call;      // prefix of the call, empty: any
  std::string path;
  Json got;
  bool any = false;
  std::string reason;
  bool occurred = false;
};
std::vector<Deviation> read_deviations(const std::string& file);

// Plays one scenario; the result has one answer for each step, in the form of `expect`. Thread-safe for different
// scenarios: every run has tenants of its own.
std::vector<Json> play(const Json& scenario, const std::shared_ptr<grpc::Channel>& channel);

}  // namespace headgate::testing
