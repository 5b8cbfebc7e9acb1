#include "engine/schema/compiler.h"

#include "engine/cel/compile.h"

namespace headgate::engine {
namespace {

using base::v1::AttributeType;
using CelType = cel::Type;

CelType cel_type(AttributeType type) {
  CelType element;
  switch (type) {
    case base::v1::ATTRIBUTE_TYPE_BOOLEAN:
    case base::v1::ATTRIBUTE_TYPE_BOOLEAN_ARRAY: element.set_primitive(CelType::BOOL); break;
    case base::v1::ATTRIBUTE_TYPE_STRING:
    case base::v1::ATTRIBUTE_TYPE_STRING_ARRAY: element.set_primitive(CelType::STRING); break;
    case base::v1::ATTRIBUTE_TYPE_INTEGER:
    case base::v1::ATTRIBUTE_TYPE_INTEGER_ARRAY: element.set_primitive(CelType::INT64); break;
    default: element.set_primitive(CelType::DOUBLE); break;
  }
  const bool array = type % 2 == 0;
  if (!array) return element;
  CelType list;
  *list.mutable_list_type()->mutable_elem_type() = element;
  return list;
}
static_assert(base::v1::ATTRIBUTE_TYPE_BOOLEAN % 2 == 1 && base::v1::ATTRIBUTE_TYPE_DOUBLE % 2 == 1);

// Characters of all rules together. A checked expression takes hundreds of bytes for each of them.
constexpr size_t kMaxRuleText = 500'000;

class Compiler {
 public:
  Compiler(const Names& names, Fault& fault) : names_(names), fault_(fault) {}

  bool compile(const Entity& entity, base::v1::EntityDefinition& out) {
    using base::v1::EntityDefinition;
    entity_ = names_.find_entity(entity.name.text);
    out.set_name(std::string(entity.name.text));
    auto& references = *out.mutable_references();
    for (const Relation& relation : entity.relations) {
      const std::string name(relation.name.text);
      fill(relation, (*out.mutable_relations())[name]);
      references[name] = EntityDefinition::REFERENCE_RELATION;
    }
    for (const Attribute& attribute : entity.attributes) {
      const std::string name(attribute.name.text);
      const AttributeType type = known_type(attribute.type);
      if (type == base::v1::ATTRIBUTE_TYPE_UNSPECIFIED) return false;
      base::v1::AttributeDefinition& definition = (*out.mutable_attributes())[name];
      definition.set_name(name);
      definition.set_type(type);
      references[name] = EntityDefinition::REFERENCE_ATTRIBUTE;
    }
    for (const Permission& permission : entity.permissions) {
      const std::string name(permission.name.text);
      base::v1::PermissionDefinition& definition = (*out.mutable_permissions())[name];
      definition.set_name(name);
      if (!compile(permission.expression, *definition.mutable_child())) return false;
      references[name] = EntityDefinition::REFERENCE_PERMISSION;
    }
    return true;
  }

  bool compile(const Rule& rule, base::v1::RuleDefinition& out) {
    out.set_name(std::string(rule.name.text));
    CelType dyn;
    dyn.mutable_dyn();
    std::vector<cel::Variable> variables{{"context", dyn}};
    for (const Attribute& parameter : rule.parameters) {
      const AttributeType type = known_type(parameter.type);
      if (type == base::v1::ATTRIBUTE_TYPE_UNSPECIFIED) return false;
      const std::string name(parameter.name.text);
      if (name == "context") {
        return fail(base::v1::ERROR_CODE_INVALID_ARGUMENT, parameter.name.place,
                    "'context' is the data of the request; give the parameter another name");
      }
      (*out.mutable_arguments())[name] = type;
      variables.push_back({name, cel_type(type)});
    }
    return compile_body(rule, variables, *out.mutable_expression());
  }

 private:
  bool fail(base::v1::ErrorCode code, Place place, std::string text) {
    fault_ = {code, place, std::move(text)};
    return false;
  }

  static void fill(const Relation& relation, base::v1::RelationDefinition& out) {
    out.set_name(std::string(relation.name.text));
    for (const RelationType& type : relation.types) {
      base::v1::RelationReference& reference = *out.add_relation_references();
      reference.set_type(std::string(type.type.text));
      if (type.relation) reference.set_relation(std::string(type.relation->text));
    }
  }

  AttributeType known_type(const ValueType& type) {
    const AttributeType known = attribute_type(type);
    if (known == base::v1::ATTRIBUTE_TYPE_UNSPECIFIED) {
      fail(base::v1::ERROR_CODE_INVALID_ARGUMENT, type.name.place,
           fmt::format("there is no type '{}'; use boolean, string, integer or double, with [] for lists",
                       type.name.text));
    }
    return known;
  }

  bool compile(const Expression& expression, base::v1::Child& out) {
    if (!expression.is_operation()) return compile_leaf(expression, *out.mutable_leaf());
    base::v1::Rewrite& rewrite = *out.mutable_rewrite();
    switch (expression.kind) {
      case Expression::Kind::kOr: rewrite.set_rewrite_operation(base::v1::Rewrite::OPERATION_UNION); break;
      case Expression::Kind::kAnd: rewrite.set_rewrite_operation(base::v1::Rewrite::OPERATION_INTERSECTION); break;
      default: rewrite.set_rewrite_operation(base::v1::Rewrite::OPERATION_EXCLUSION); break;
    }
    return compile(*expression.left, *rewrite.add_children()) && compile(*expression.right, *rewrite.add_children());
  }

  bool compile_leaf(const Expression& leaf, base::v1::Leaf& out) {
    if (leaf.kind == Expression::Kind::kCall) return compile_call(leaf, *out.mutable_call());
    const Path& path = leaf.path;
    if (path.size() > 2) {
      return fail(base::v1::ERROR_CODE_NOT_SUPPORTED_RELATION_WALK, path[2].place,
                  "only one step (relation.name) is possible here; put the rest into a permission of the other entity");
    }
    const std::string first(path[0].text);
    if (path.size() == 2) {
      out.mutable_tuple_to_user_set()->mutable_tupleset()->set_relation(first);
      out.mutable_tuple_to_user_set()->mutable_computed()->set_relation(std::string(path[1].text));
      return true;
    }
    const Member* member = entity_->find(path[0].text);
    if (member == nullptr || member->attribute == nullptr) {
      out.mutable_computed_user_set()->set_relation(first);
      return true;
    }
    out.mutable_computed_attribute()->set_name(first);
    if (attribute_type(member->attribute->type) == base::v1::ATTRIBUTE_TYPE_BOOLEAN) return true;
    return fail(base::v1::ERROR_CODE_SCHEMA_COMPILE, path[0].place,
                fmt::format("attribute '{}' is {}; only a boolean stands by itself, for the others call a rule", first,
                            spell(member->attribute->type)));
  }

  bool compile_call(const Expression& call, base::v1::Call& out) {
    const Name& name = call.path[0];
    out.set_rule_name(std::string(name.text));
    if (call.arguments.empty()) {
      return fail(base::v1::ERROR_CODE_MISSING_ARGUMENT, name.place,
                  fmt::format("rule '{}' needs at least one attribute as argument", name.text));
    }
    for (const Path& argument : call.arguments) {
      if (argument.size() > 1) {
        return fail(base::v1::ERROR_CODE_NOT_SUPPORTED_WALK, argument[1].place,
                    "an argument is an attribute of the same entity, without '.'");
      }
      out.add_arguments()->mutable_computed_attribute()->set_name(std::string(argument[0].text));
    }
    return true;
  }

  bool compile_body(const Rule& rule, const std::vector<cel::Variable>& variables, cel::CheckedExpr& out) {
    rule_text_ += rule.body.text.size();
    if (rule_text_ > kMaxRuleText) {
      return fail(base::v1::ERROR_CODE_SCHEMA_COMPILE, rule.name.place,
                  fmt::format("the rules of this schema are longer than {} characters together", kMaxRuleText));
    }
    cel::Problem problem;
    auto checked = cel::compile(rule.body.text, variables, problem);
    if (!checked) {
      const auto code = problem.syntax ? base::v1::ERROR_CODE_SCHEMA_PARSE : base::v1::ERROR_CODE_SCHEMA_COMPILE;
      return fail(code, rule.body.place_of(problem.offset),
                  fmt::format("in rule '{}': {}", rule.name.text, problem.text));
    }
    const cel::Type& type = cel::result_type(*checked);
    if (type.primitive() != CelType::BOOL) {
      const std::string_view hint = type.has_dyn() ? "; compare it with a value, for example == true" : "";
      return fail(base::v1::ERROR_CODE_SCHEMA_COMPILE, rule.name.place,
                  fmt::format("rule '{}' must be a condition, its expression is of type {}{}", rule.name.text,
                              cel::describe(type), hint));
    }
    out = std::move(*checked);
    return true;
  }

  const Names& names_;
  Fault& fault_;
  const EntityNames* entity_ = nullptr;
  size_t rule_text_ = 0;
};

}  // namespace

std::optional<base::v1::SchemaDefinition> compile_tree(const Schema& schema, const Names& names, Fault& fault) {
  base::v1::SchemaDefinition out;
  Compiler compiler(names, fault);
  for (const Entity& entity : schema.entities) {
    const std::string name(entity.name.text);
    if (!compiler.compile(entity, (*out.mutable_entity_definitions())[name])) return std::nullopt;
    (*out.mutable_references())[name] = base::v1::SchemaDefinition::REFERENCE_ENTITY;
  }
  for (const Rule& rule : schema.rules) {
    const std::string name(rule.name.text);
    if (!compiler.compile(rule, (*out.mutable_rule_definitions())[name])) return std::nullopt;
    (*out.mutable_references())[name] = base::v1::SchemaDefinition::REFERENCE_RULE;
  }
  return out;
}

base::v1::AttributeType attribute_type(const ValueType& type) {
  constexpr std::pair<std::string_view, base::v1::AttributeType> kTypes[] = {
      {"boolean", base::v1::ATTRIBUTE_TYPE_BOOLEAN},
      {"string", base::v1::ATTRIBUTE_TYPE_STRING},
      {"integer", base::v1::ATTRIBUTE_TYPE_INTEGER},
      {"double", base::v1::ATTRIBUTE_TYPE_DOUBLE}};
  for (const auto& [name, scalar] : kTypes) {
    if (name == type.name.text) return static_cast<base::v1::AttributeType>(scalar + (type.array ? 1 : 0));
  }
  return base::v1::ATTRIBUTE_TYPE_UNSPECIFIED;
}

std::string spell(const ValueType& type) { return fmt::format("{}{}", type.name.text, type.array ? "[]" : ""); }

}  // namespace headgate::engine
