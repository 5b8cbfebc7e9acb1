#include "ops/demo/story.h"

#include <fmt/format.h>

#include <array>

#include "base/v1/base.pb.h"

namespace headgate::demo {
namespace {

base::v1::Tuple tuple(const std::string& type, const std::string& id, const std::string& relation,
                      const std::string& subject_type, const std::string& subject_id,
                      const std::string& subject_relation = "") {
  base::v1::Tuple result;
  result.mutable_entity()->set_type(type);
  result.mutable_entity()->set_id(id);
  result.set_relation(relation);
  result.mutable_subject()->set_type(subject_type);
  result.mutable_subject()->set_id(subject_id);
  result.mutable_subject()->set_relation(subject_relation);
  return result;
}

base::v1::Attribute flag(const std::string& type, const std::string& id, const std::string& name) {
  base::v1::Attribute result;
  result.mutable_entity()->set_type(type);
  result.mutable_entity()->set_id(id);
  result.set_attribute(name);
  base::v1::BooleanValue value;
  value.set_data(true);
  result.mutable_value()->PackFrom(value);
  return result;
}

constexpr std::array kPeople = {"ann", "ben", "cho", "dee", "eli", "fay"};
constexpr std::array kTitles = {"roadmap", "budget", "offer", "minutes", "design"};

}  // namespace

const char* const kSchema = R"(
entity user {}

entity organization {
  relation admin @user
  relation member @user

  permission manage = admin
}

entity team {
  relation organization @organization
  relation member @user

  permission join = organization.manage
}

entity document {
  relation organization @organization
  relation owner @user
  relation editor @user @team#member
  relation viewer @user @team#member

  attribute public boolean

  permission edit = owner or editor or organization.manage
  permission view = public or viewer or edit
  permission delete = owner or organization.manage
}
)";

const std::vector<std::pair<std::string, std::string>>& tenants() {
  static const std::vector<std::pair<std::string, std::string>> kTenants = {
      {"acme", "Acme Ltd"}, {"globex", "Globex Corporation"}, {"initech", "Initech"}};
  return kTenants;
}

std::vector<Step> first_steps() {
  std::vector<Step> steps;
  for (const auto& [id, name] : tenants()) {
    Step step{.tenant = id, .title = "everybody joins the company"};
    step.create.push_back(tuple("organization", id, "admin", "user", "ann"));
    for (const char* person : kPeople) step.create.push_back(tuple("organization", id, "member", "user", person));
    step.create.push_back(tuple("team", "sales", "organization", "organization", id));
    step.create.push_back(tuple("team", "sales", "member", "user", "dee"));
    steps.push_back(step);
  }
  return steps;
}

Step Story::next() {
  const int tenant_count = static_cast<int>(tenants().size());
  const int turn = number_ / tenant_count;  // of this tenant
  Step step{.tenant = tenants()[number_ % tenant_count].first};
  ++number_;
  const int document_number = turn / 5;
  const std::string document =
      fmt::format("{}-{}", kTitles[document_number % kTitles.size()], document_number / kTitles.size() + 1);
  const std::string owner = kPeople[document_number % kPeople.size()];
  const std::string reader = kPeople[(document_number + 1) % kPeople.size()];
  switch (turn % 5) {
    case 0:
      step.title = fmt::format("{} creates document {}", owner, document);
      step.create.push_back(tuple("document", document, "organization", "organization", step.tenant));
      step.create.push_back(tuple("document", document, "owner", "user", owner));
      break;
    case 1:
      step.title = fmt::format("{} shares {} with {}", owner, document, reader);
      step.create.push_back(tuple("document", document, "viewer", "user", reader));
      break;
    case 2:
      step.title = fmt::format("{} lets team sales edit {}", owner, document);
      step.create.push_back(tuple("document", document, "editor", "team", "sales", "member"));
      break;
    case 3:
      step.title = fmt::format("{} makes {} public", owner, document);
      step.set.push_back(flag("document", document, "public"));
      break;
    default:
      step.title = fmt::format("{} no longer shares {} with {}", owner, document, reader);
      step.remove.push_back(tuple("document", document, "viewer", "user", reader));
      break;
  }
  return step;
}

}  // namespace headgate::demo
