"""Which folder may include which: folder order is dependency order, and each library has its owners."""

import re

from source import Finding, line_of

# Each folder may include itself and what stands before it in its own list, besides what the list is built on.
LISTS = {
    "base": ["base", "base/postgres", "base/redis"],
    "proto": ["proto"],
    "engine": ["engine/model", "engine/cel", "engine/schema", "engine/storage", "engine/write", "engine/feed", "engine/gc",
               "engine/check", "engine/cache", "engine/ring", "engine/breaker", "engine/rpc", "engine/api", "engine/watch",
               "engine/config", "engine"],
    "sinks": ["sinks", "sinks/encoding", "sinks/registry", "sinks/log", "sinks/kafka", "sinks/redis", "sinks/nats",
              "sinks/table", "sinks/testing"],
    "relay": ["relay/tokens", "relay/lease", "relay/upstream", "relay/hub", "relay/pipeline", "relay/delivery",
              "relay/server", "relay/admin", "relay/config", "relay"],
    "ops": ["ops/demo"],
}
BUILT_ON = {
    "base": [],
    "proto": ["base"],
    "engine": ["base", "proto"],
    "sinks": ["base", "proto"],
    "relay": ["base", "proto", "sinks"],
    "ops": ["base", "proto", "tests"],
}

# Files that stand above the folder they are in: the table of kinds knows every sink.
OWN_PLACE = {"sinks/table.h": "sinks/table", "sinks/table.cc": "sinks/table"}

# Header pattern -> folders that may include it. Tests may include anything.
OWNERS = [
    (r"pqxx/", ["base/postgres", "engine/storage", "relay/tokens"]),
    (r"libpq-fe\.h", ["base/postgres", "engine/storage"]),
    (r"(grpc/|grpcpp/|.*\.grpc\.pb\.h|proto/pch_grpc\.h)",
     ["proto", "engine/api", "engine/watch", "relay/upstream", "relay/server", "ops/demo"]),
    (r"librdkafka/", ["sinks/kafka"]),
    (r"(hiredis|openssl)/", ["base/redis"]),
    (r"nats/", ["sinks/nats"]),
    (r"sqlite3\.h", ["relay/tokens"]),
    (r"re2/", ["engine/cel"]),
    (r"yaml-cpp/", ["base", "engine/config", "relay/config"]),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
OURS = tuple(name + "/" for name in [*LISTS, "tests"])
# Generated from proto/, reached through the include path.
GENERATED = re.compile(r"^(base|headgate|google)/.*\.pb\.h$")


def folder_of(path):
    if path in OWN_PLACE:
        return OWN_PLACE[path]
    return path.rsplit("/", 1)[0] if "/" in path else ""


def is_test(path):
    return path.startswith(("tests/", "sinks/testing/")) or path.endswith(("_test.cc", "_contract.h", "_fixture.h", "_fixture.cc"))


def may_include(folder, target):
    group = folder.split("/", 1)[0]
    target_group = target.split("/", 1)[0]
    if target_group != group:
        return target_group in BUILT_ON.get(group, []) and target != "sinks/testing"
    order = LISTS[group]
    if target not in order:
        return False
    return order.index(target) <= order.index(folder)


def check_direction(path, target, line):
    folder = folder_of(path)
    wanted = folder_of(target)
    if folder == wanted:
        return []
    if wanted.split("/", 1)[0] == "tests":
        return [] if is_test(path) or "tests" in BUILT_ON.get(folder.split("/", 1)[0], []) else [Finding(path, line, f"includes {target}: only tests include tests/")]
    if path.startswith("tests/") or (is_test(path) and wanted == "sinks/testing"):
        return []
    group = folder.split("/", 1)[0]
    if group not in LISTS or folder not in LISTS[group]:
        return [Finding(path, line, f"folder {folder} has no place in the order: add it to ops/lint/layers.py")]
    if may_include(folder, wanted):
        return []
    return [Finding(path, line, f"includes {target}, but {folder} comes before {wanted} in the folder order")]


def check_owner(path, target, line):
    if is_test(path):
        return []
    for pattern, owners in OWNERS:
        if re.match(pattern, target) and folder_of(path) not in owners:
            return [Finding(path, line, f"includes <{target}>, which only {', '.join(owners)} may")]
    return []


def run(tree):
    findings = []
    for path in tree.cpp():
        text = tree.text(path)
        for match in INCLUDE.finditer(text):
            target = match[2]
            line = line_of(text, match.start())
            findings += check_owner(path, target, line)
            if GENERATED.match(target):
                continue
            if target.startswith(OURS):
                findings += check_direction(path, target, line)
            elif match[1] == '"':
                findings.append(Finding(path, line, f'"{target}": our headers are included by their path from the root'))
    return findings
