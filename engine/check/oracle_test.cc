// Small random worlds: after every write all answers are compared with those of an evaluator of its own
// (oracle_fixture.h), at the state at which they were given. HEADGATE_ORACLE_SEED=n plays one world,
// HEADGATE_ORACLE_WORLDS=n more of them than usual.
#include <cstdlib>
#include <random>

#include "engine/check/check_fixture.h"
#include "engine/check/facts.h"
#include "engine/check/oracle_fixture.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

const std::vector<std::string> kTypes{"group", "folder", "doc"};
const std::vector<std::string> kIds{"p", "q", "r"};
const std::vector<std::string> kUsers{"a", "b", "c", "z"};
// The last one has no subjects with a relation, so that arrows can follow it.
const std::vector<std::string> kRelations{"ra", "rb", "rc"};
const std::vector<std::string> kPermissions{"pa", "pb", "pc"};

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  size_t below(size_t size) { return engine_() % size; }
  bool one_in(size_t size) { return below(size) == 0; }
  const std::string& of(const std::vector<std::string>& list) { return list[below(list.size())]; }

 private:
  std::mt19937_64 engine_;
};

struct Declared {
  std::map<std::string, std::vector<std::string>> types;  // "doc#ra" -> "user", "group#rb"
};

std::string expression(Dice& dice, int depth, bool with_not) {
  if (depth == 0 || dice.one_in(3)) {
    const size_t kind = dice.below(12);
    if (kind < 4) return dice.of(kRelations);
    if (kind < 6) return dice.of(kPermissions);
    if (kind < 9) return "rc." + dice.of(dice.one_in(2) ? kRelations : kPermissions);
    if (kind == 9) return "public";
    if (kind == 10) return dice.one_in(6) ? "broken(level)" : "high(level)";
    return "public";
  }
  const char* const operators[] = {" or ", " and ", " not "};
  const std::string middle = operators[dice.below(with_not ? 3 : 2)];
  return "(" + expression(dice, depth - 1, with_not) + middle + expression(dice, depth - 1, with_not) + ")";
}

Declared declare(Dice& dice) {
  Declared declared;
  for (const std::string& type : kTypes) {
    for (const char* relation : {"ra", "rb"}) {
      std::vector<std::string>& types = declared.types[type + "#" + relation];
      types.push_back("user");
      for (size_t i = dice.below(3); i > 0; --i) {
        const std::string one = dice.of(kTypes) + "#" + dice.of(kRelations);
        if (std::ranges::find(types, one) == types.end()) types.push_back(one);
      }
    }
    std::vector<std::string>& arrow = declared.types[type + "#rc"];
    arrow = {dice.of(kTypes)};
    if (const std::string& more = dice.of(kTypes); more != arrow[0]) arrow.push_back(more);
  }
  return declared;
}

std::string schema_of(Dice& dice, const Declared& declared) {
  const bool with_not = !dice.one_in(3);
  std::string text = "entity user {}\n";
  for (const std::string& type : kTypes) {
    text += "entity " + type + " {\n";
    for (const std::string& relation : kRelations) {
      text += "  relation " + relation;
      for (const std::string& one : declared.types.at(type + "#" + relation)) text += " @" + one;
      text += "\n";
    }
    text += "  attribute public boolean\n  attribute level integer\n";
    for (const std::string& permission : kPermissions) {
      text += "  permission " + permission + " = " + expression(dice, 2, with_not) + "\n";
    }
    text += "}\n";
  }
  return text + "rule high(level integer) {\n  level > 1\n}\nrule broken(level integer) {\n  level > 1\n}\n";
}

std::string random_tuple(Dice& dice, const Declared& declared) {
  const std::string type = dice.of(kTypes), relation = dice.of(kRelations);
  const std::string& one =
      declared.types.at(type + "#" + relation)[dice.below(declared.types.at(type + "#" + relation).size())];
  const size_t hash = one.find('#');
  const std::string subject_type = one.substr(0, hash);
  const std::string id = subject_type == "user" ? kUsers[dice.below(3)] : dice.of(kIds);
  return type + ":" + dice.of(kIds) + "#" + relation + "@" + subject_type + ":" + id +
         (hash == std::string::npos ? "" : one.substr(hash));
}

std::string random_attribute(Dice& dice) {
  const std::string entity = dice.of(kTypes) + ":" + dice.of(kIds);
  if (dice.one_in(2)) return entity + "$public|" + (dice.one_in(2) ? "true" : "false");
  return entity + "$level|" + std::to_string(dice.below(4));
}

// What a tree says of a user, reading nothing but the tree.
Truth truth_in(const base::v1::Expand& tree, const std::string& user) {
  if (tree.has_expand()) {
    const auto operation = tree.expand().operation();
    Truth truth = operation == base::v1::ExpandTreeNode::OPERATION_UNION ? Truth::kNo : Truth::kYes;
    for (const base::v1::Expand& child : tree.expand().children()) {
      const Truth one = truth_in(child, user);
      truth = operation == base::v1::ExpandTreeNode::OPERATION_UNION ? std::max(truth, one) : std::min(truth, one);
    }
    return truth;
  }
  if (tree.leaf().has_value()) {
    base::v1::BooleanValue value;
    tree.leaf().value().UnpackTo(&value);
    return value.data() ? Truth::kYes : Truth::kNo;
  }
  if (tree.leaf().has_values()) {
    if (tree.permission() == "broken") return Truth::kError;
    base::v1::IntegerValue level;
    tree.leaf().values().values().at("level").UnpackTo(&level);
    return level.data() > 1 ? Truth::kYes : Truth::kNo;
  }
  for (const base::v1::Subject& subject : tree.leaf().subjects().subjects()) {
    if (subject.type() == "user" && subject.id() == user && subject.relation().empty()) return Truth::kYes;
  }
  return Truth::kNo;
}

OracleRows::Subject subject_of(const base::v1::Subject& subject) {
  return {subject.type(), subject.id(), subject.relation()};
}

class World {
 public:
  World(CheckFixture& fixture, const std::string& uri, uint64_t seed)
      : fixture_(fixture), sql_(uri), open_(uri), dice_(seed), seed_(seed), tenant_("w" + std::to_string(seed)) {
    fixture_.tenant = tenant_;
    declared_ = declare(dice_);
    add_schema();
    add_schema();
  }

  size_t answers() const { return answers_; }
  size_t trees() const { return trees_; }

  void play(int steps) {
    for (int i = 0; i < steps; ++i) {
      change();
      look();
    }
    if (is_open_) open_.rollback();
  }

 private:
  void add_schema() {
    for (;;) {
      const std::string text = schema_of(dice_, declared_);
      const auto compiled = compile_schema(text);
      if (!compiled.ok()) continue;
      versions_.push_back(*fixture_.store.schemas->write(tenant_, compiled->rows, std::nullopt));
      if (text.find(" not ") == std::string::npos) without_not_.insert(versions_.back());
      return;
    }
  }

  void change() {
    // Somebody's transaction that stays open over several steps; nobody else writes what it writes.
    if (is_open_ && dice_.one_in(3)) {
      dice_.one_in(2) ? open_.commit() : open_.rollback();
      is_open_ = false;
    } else if (!is_open_ && dice_.one_in(3)) {
      open_.begin(tenant_);
      open_.run(
          "INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id,"
          " subject_relation, tenant_id) VALUES ('" +
          dice_.of(kTypes) + "', '" + dice_.of(kIds) + "', 'ra', 'user', 'z', '', '" + tenant_ +
          "') ON CONFLICT DO NOTHING");
      is_open_ = true;
    }
    if (dice_.one_in(3)) return remove();
    std::vector<std::string> tuples, attributes;
    for (size_t count = 1 + dice_.below(3); count > 0; --count) tuples.push_back(random_tuple(dice_, declared_));
    if (dice_.one_in(2)) attributes.push_back(random_attribute(dice_));
    fixture_.write(tuples, attributes);
  }

  void remove() {
    base::v1::TupleFilter tuples;
    tuples.mutable_entity()->set_type(dice_.of(kTypes));
    tuples.mutable_entity()->add_ids(dice_.of(kIds));
    tuples.set_relation(dice_.of({"ra", "rb", "rc"}));
    base::v1::AttributeFilter attributes;
    attributes.mutable_entity()->set_type(dice_.of(kTypes));
    attributes.mutable_entity()->add_ids(dice_.of(kIds));
    // The open transaction's rows are nobody's to remove.
    tuples.mutable_subject()->add_ids(dice_.of({"a", "b", "c", "p", "q", "r"}));
    REQUIRE(fixture_.store.writer->remove(tenant_, tuples, attributes).ok());
  }

  base::v1::Context random_context() {
    base::v1::Context context;
    if (dice_.one_in(2)) return context;
    for (size_t i = 1 + dice_.below(3); i > 0; --i) *context.add_tuples() = tuple_from(random_tuple(dice_, declared_));
    if (dice_.one_in(2)) {
      *context.add_attributes() = attribute_from(dice_.of(kTypes) + ":" + dice_.of(kIds) + "$public|true");
    }
    return context;
  }

  std::vector<base::v1::Subject> subjects() {
    std::vector<base::v1::Subject> all;
    for (const std::string& user : kUsers) *&all.emplace_back() = tuple_from("x:x#x@user:" + user).subject();
    for (int i = 0; i < 2; ++i) {
      all.push_back(
          tuple_from("x:x#x@" + dice_.of(kTypes) + ":" + dice_.of(kIds) + "#" + dice_.of(kRelations)).subject());
    }
    return all;
  }

  std::vector<std::string> names() const { return {"ra", "rb", "rc", "pa", "pb", "pc", "public"}; }

  // All answers at one state, in one graph; then some of them alone, and lookups.
  void look() {
    const std::string version = dice_.of(versions_);
    const base::v1::Context context = random_context();
    const Head head = *fixture_.heads.get(tenant_, Freshness::kStrict, [] { return ok_status(); });
    OracleRows rows = oracle_rows(sql_, tenant_, head.at);
    add_context(rows, context);
    const auto schema = *fixture_.schemas.get(tenant_, version);
    std::vector<Question> questions;
    std::vector<Truth> wanted;
    const std::vector<base::v1::Subject> all = subjects();
    for (const base::v1::Subject& subject : all) {
      const Oracle oracle(*schema, rows, kIds, subject_of(subject));
      for (const std::string& type : kTypes) {
        for (const std::string& id : kIds) {
          for (const std::string& name : names()) {
            Question& question = questions.emplace_back();
            question.entity.set_type(type);
            question.entity.set_id(id);
            question.name = name;
            question.subject = subject;
            wanted.push_back(oracle.of(type, id, name));
          }
        }
      }
      look_up_entities(*schema, oracle, rows, subject, context, version, head.at);
    }
    look_up_subjects(*schema, rows, context, version, head.at);
    if (without_not_.contains(version)) look_at_trees(*schema, rows, context, version, head.at);
    compare_all(questions, wanted, context, version, head.at);
  }

  void compare_all(const std::vector<Question>& questions, const std::vector<Truth>& wanted,
                   const base::v1::Context& context, const std::string& version, const SnapToken& at) {
    const auto schema = *fixture_.schemas.get(tenant_, version);
    Scope scope;
    scope.tenant = tenant_;
    scope.at = at;
    scope.schema = schema.get();
    scope.context = &context;
    scope.reader = &fixture_.reader;
    scope.rules = &fixture_.rules;
    Facts facts(scope);
    const auto verdicts = Evaluation(scope, facts, {1000}).decide(questions);
    REQUIRE_MESSAGE(verdicts.ok(), describe(verdicts.status()));
    for (size_t i = 0; i < questions.size(); ++i) {
      const Verdict& verdict = (*verdicts)[i];
      const Truth got = !verdict.error.ok() ? Truth::kError : verdict.allowed ? Truth::kYes : Truth::kNo;
      ++answers_;
      if (got != wanted[i]) fail(questions[i], wanted[i], got, version, context);
    }
    for (int i = 0; i < 10; ++i) {
      const size_t one = dice_.below(questions.size());
      Facts own(scope);
      const auto alone = Evaluation(scope, own, {1000}).decide({questions[one]});
      REQUIRE(alone.ok());
      const Verdict& verdict = (*alone)[0];
      const Truth got = !verdict.error.ok() ? Truth::kError : verdict.allowed ? Truth::kYes : Truth::kNo;
      if (got != wanted[one]) fail(questions[one], wanted[one], got, version, context);
      check_again(questions[one], wanted[one], version, at, context);
    }
  }

  // The same state gives the same answer later, too.
  void check_again(const Question& question, Truth wanted, const std::string& version, const SnapToken& at,
                   const base::v1::Context& context) {
    kept_.push_back({question, wanted, version, encode_snap_token(at), context});
    const Kept& old = kept_[dice_.below(kept_.size())];
    base::v1::PermissionCheckRequest request;
    request.set_tenant_id(tenant_);
    request.mutable_metadata()->set_depth(1000);
    request.mutable_metadata()->set_schema_version(old.version);
    request.mutable_metadata()->set_snap_token(old.token);
    *request.mutable_entity() = old.question.entity;
    request.set_permission(old.question.name);
    *request.mutable_subject() = old.question.subject;
    *request.mutable_context() = old.context;
    CheckCall call{.consistency = Consistency::kExact};
    const auto answer = fixture_.checks.check(request, call);
    const Truth got = !answer.ok()                                      ? Truth::kError
                      : answer->can() == base::v1::CHECK_RESULT_ALLOWED ? Truth::kYes
                                                                        : Truth::kNo;
    if (got != old.wanted) fail(old.question, old.wanted, got, old.version, old.context);
  }

  void look_up_entities(const base::v1::SchemaDefinition&, const Oracle& oracle, const OracleRows& rows,
                        const base::v1::Subject& subject, const base::v1::Context& context, const std::string& version,
                        const SnapToken& at) {
    base::v1::PermissionLookupEntityRequest request;
    request.set_tenant_id(tenant_);
    request.mutable_metadata()->set_depth(1000);
    request.mutable_metadata()->set_schema_version(version);
    request.mutable_metadata()->set_snap_token(encode_snap_token(at));
    request.set_entity_type(dice_.of(kTypes));
    request.set_permission(dice_.of({"pa", "pb", "pc", "ra", "public"}));
    *request.mutable_subject() = subject;
    *request.mutable_context() = context;
    request.set_page_size(static_cast<uint32_t>(1 + dice_.below(3)));
    std::vector<std::string> wanted;
    bool may_fail = false;
    for (const std::string& id : kIds) {
      const auto known = rows.known.find(request.entity_type());
      const bool is_known = known != rows.known.end() && known->second.contains(id);
      const bool asked = subject.type() == request.entity_type() && subject.id() == id;
      const Truth truth = oracle.of(request.entity_type(), id, request.permission());
      if (truth == Truth::kYes && (is_known || asked)) wanted.push_back(id);
      may_fail = may_fail || truth == Truth::kError;
    }
    std::vector<std::string> got;
    do {
      CheckCall call{.consistency = Consistency::kExact};
      const auto page = fixture_.checks.lookup_entity(request, call);
      if (!page.ok() && may_fail) return;
      REQUIRE_MESSAGE(page.ok(), describe(page.status()) << request.ShortDebugString() << " seed " << seed_);
      got.insert(got.end(), page->entity_ids().begin(), page->entity_ids().end());
      request.set_continuous_token(page->continuous_token());
    } while (!request.continuous_token().empty());
    answers_ += kIds.size();
    CHECK_MESSAGE(got == wanted, request.ShortDebugString()
                                     << " seed " << seed_ << " got " << fmt::format("{}", fmt::join(got, " "))
                                     << " wanted " << fmt::format("{}", fmt::join(wanted, " ")));
  }

  void look_up_subjects(const base::v1::SchemaDefinition& schema, const OracleRows& rows,
                        const base::v1::Context& context, const std::string& version, const SnapToken& at) {
    base::v1::PermissionLookupSubjectRequest request;
    request.set_tenant_id(tenant_);
    request.mutable_metadata()->set_depth(1000);
    request.mutable_metadata()->set_schema_version(version);
    request.mutable_metadata()->set_snap_token(encode_snap_token(at));
    request.mutable_entity()->set_type(dice_.of(kTypes));
    request.mutable_entity()->set_id(dice_.of(kIds));
    request.set_permission(dice_.of({"pa", "pb", "pc", "ra"}));
    request.mutable_subject_reference()->set_type("user");
    *request.mutable_context() = context;
    request.set_page_size(static_cast<uint32_t>(1 + dice_.below(3)));
    std::vector<std::string> wanted;
    bool may_fail = false;
    for (const std::string& user : kUsers) {
      const auto known = rows.subjects.find("user");
      const bool is_known = known != rows.subjects.end() && known->second.contains(user);
      const Truth truth = Oracle(schema, rows, kIds, {"user", user, ""})
                              .of(request.entity().type(), request.entity().id(), request.permission());
      if (truth == Truth::kYes && is_known) wanted.push_back(user);
      may_fail = may_fail || truth == Truth::kError;
    }
    std::vector<std::string> got;
    do {
      CheckCall call{.consistency = Consistency::kExact};
      const auto page = fixture_.checks.lookup_subject(request, call);
      if (!page.ok() && may_fail) return;
      REQUIRE_MESSAGE(page.ok(), describe(page.status()) << request.ShortDebugString() << " seed " << seed_);
      got.insert(got.end(), page->subject_ids().begin(), page->subject_ids().end());
      request.set_continuous_token(page->continuous_token());
    } while (!request.continuous_token().empty());
    answers_ += kUsers.size();
    CHECK_MESSAGE(got == wanted, request.ShortDebugString()
                                     << " seed " << seed_ << " got " << fmt::format("{}", fmt::join(got, " "))
                                     << " wanted " << fmt::format("{}", fmt::join(wanted, " ")));
  }

  // A circle is cut where it comes again, which changes nothing as long as nobody is taken out.
  void look_at_trees(const base::v1::SchemaDefinition& schema, const OracleRows& rows, const base::v1::Context& context,
                     const std::string& version, const SnapToken& at) {
    base::v1::PermissionExpandRequest request;
    request.set_tenant_id(tenant_);
    request.mutable_metadata()->set_schema_version(version);
    request.mutable_metadata()->set_snap_token(encode_snap_token(at));
    request.mutable_entity()->set_type(dice_.of(kTypes));
    request.mutable_entity()->set_id(dice_.of(kIds));
    request.set_permission(dice_.of({"pa", "pb", "pc", "ra"}));
    *request.mutable_context() = context;
    CheckCall call{.consistency = Consistency::kExact};
    const auto answer = fixture_.checks.expand(request, call);
    if (answer.status().code() == StatusCode::kResourceExhausted) return;  // written out it is too large
    REQUIRE_MESSAGE(answer.ok(), describe(answer.status()) << request.ShortDebugString() << " seed " << seed_);
    for (const std::string& user : kUsers) {
      const Truth wanted = Oracle(schema, rows, kIds, {"user", user, ""})
                               .of(request.entity().type(), request.entity().id(), request.permission());
      ++answers_;
      CHECK_MESSAGE(truth_in(answer->tree(), user) == wanted, request.ShortDebugString()
                                                                  << " of " << user << " seed " << seed_);
    }
    ++trees_;
  }

  void fail(const Question& question, Truth wanted, Truth got, const std::string& version,
            const base::v1::Context& context) {
    const char* const words[] = {"denied", "an error", "allowed"};
    FAIL_CHECK("seed " << seed_ << ": " << question.entity.ShortDebugString() << "#" << question.name << " @ "
                       << question.subject.ShortDebugString() << " is " << words[static_cast<int>(got)] << ", not "
                       << words[static_cast<int>(wanted)] << " under " << version << " with "
                       << context.ShortDebugString());
  }

  struct Kept {
    Question question;
    Truth wanted;
    std::string version;
    std::string token;
    base::v1::Context context;
  };

  CheckFixture& fixture_;
  testing::EngineSession sql_;
  testing::EngineSession open_;
  bool is_open_ = false;
  Dice dice_;
  const uint64_t seed_;
  const std::string tenant_;
  Declared declared_;
  std::vector<std::string> versions_;
  std::set<std::string> without_not_;
  size_t trees_ = 0;
  std::vector<Kept> kept_;
  size_t answers_ = 0;
};

TEST_SUITE("check/oracle") {
  TEST_CASE("oracle: every answer in small random worlds is that of an evaluator of its own, after every write") {
    const char* const one = std::getenv("HEADGATE_ORACLE_SEED");
    const char* const more = std::getenv("HEADGATE_ORACLE_WORLDS");
    const uint64_t first = one != nullptr ? std::stoull(one) : 1;
    const uint64_t worlds = one != nullptr ? 1 : more != nullptr ? std::stoull(more) : 25;
    HG_POSTGRES(database);
    CheckFixture fixture(*database);
    size_t answers = 0, trees = 0;
    for (uint64_t seed = first; seed < first + worlds; ++seed) {
      World world(fixture, database->uri(), seed);
      world.play(12);
      answers += world.answers();
      trees += world.trees();
    }
    MESSAGE(answers << " answers and " << trees << " trees compared");
    CHECK((one != nullptr || more != nullptr || trees > 20));
    CHECK((one != nullptr || more != nullptr || answers > 100'000));
  }
}

}  // namespace
}  // namespace headgate::engine
