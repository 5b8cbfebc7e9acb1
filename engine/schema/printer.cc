#include "engine/schema/printer.h"

#include "engine/schema/compiler.h"

namespace headgate::engine {
namespace {

using Buffer = fmt::memory_buffer;

template <typename... Args>
void add(Buffer& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

void print(const Path& path, Buffer& out) {
  for (size_t i = 0; i < path.size(); ++i) add(out, "{}{}", i == 0 ? "" : ".", path[i].text);
}

void print(const Expression& expression, Buffer& out) {
  if (expression.is_operation()) {
    const std::string_view word = expression.kind == Expression::Kind::kOr    ? "or"
                                  : expression.kind == Expression::Kind::kAnd ? "and"
                                                                              : "not";
    add(out, "(");
    print(*expression.left, out);
    add(out, " {} ", word);
    print(*expression.right, out);
    add(out, ")");
    return;
  }
  print(expression.path, out);
  if (expression.kind != Expression::Kind::kCall) return;
  for (size_t i = 0; i < expression.arguments.size(); ++i) {
    add(out, "{}", i == 0 ? "(" : ", ");
    print(expression.arguments[i], out);
  }
  add(out, ")");
}

void print(const Relation& relation, Buffer& out) {
  add(out, "\trelation {} ", relation.name.text);
  for (const RelationType& type : relation.types) {
    add(out, "@{}", type.type.text);
    if (type.relation) add(out, "#{}", type.relation->text);
    add(out, " ");
  }
  add(out, "\n");
}

}  // namespace

std::string print(const Entity& entity) {
  Buffer out;
  add(out, "entity {} {{\n", entity.name.text);
  for (const Relation& relation : entity.relations) print(relation, out);
  add(out, "\n");
  for (const Attribute& attribute : entity.attributes) {
    add(out, "\tattribute {} {}\n", attribute.name.text, spell(attribute.type));
  }
  add(out, "\n");
  for (const Permission& permission : entity.permissions) {
    add(out, "\tpermission {} = ", permission.name.text);
    print(permission.expression, out);
    add(out, "\n");
  }
  add(out, "}}\n");
  return fmt::to_string(out);
}

std::string print(const Rule& rule) {
  Buffer out;
  add(out, "rule {}(", rule.name.text);
  for (size_t i = 0; i < rule.parameters.size(); ++i) {
    add(out, "{}{} {}", i == 0 ? "" : ", ", rule.parameters[i].name.text, spell(rule.parameters[i].type));
  }
  const std::string_view body = rule.body.text;
  const size_t begin = std::min(body.find_first_not_of(" \t\r\n"), body.size());
  const bool breaks_line = body.substr(0, begin).find_first_of("\r\n") != std::string_view::npos;
  add(out, ") {{\n\t{}{}\n}}\n", breaks_line ? "\n" : "", body.substr(begin));
  return fmt::to_string(out);
}

}  // namespace headgate::engine
