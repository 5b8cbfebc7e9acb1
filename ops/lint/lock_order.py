"""docs/locks.md has one row for each mutex, outermost first; what may be taken under it stands in a row further down."""

import re

from layers import is_test
from locks import MUTEX
from source import Finding, code_only, line_of

TABLE = "docs/locks.md"
NAME = re.compile(r"`([\w/]+\.(?:h|cc):\w+)`")


def mutexes(tree):
    """name -> line. Those that only tests have are left out."""
    found = {}
    for path in tree.cpp():
        if is_test(path) or "fake" in path or "/testing/" in path or not path.startswith(("base/", "engine/", "relay/", "sinks/")):
            continue
        code = code_only(tree.text(path))
        for match in MUTEX.finditer(code):
            if not re.search(r"class Manual\w+[^}]*$", code[:match.start()]):
                found[f"{path}:{match[1]}"] = line_of(code, match.start())
    return found


def rows(text):
    """(line number, mutex, those that may be taken under it)"""
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("|")
        if len(cells) == 5 and NAME.search(cells[1]):
            yield number, NAME.search(cells[1])[1], NAME.findall(cells[3])


def run(tree):
    real = mutexes(tree)
    if TABLE not in tree.paths:
        return [Finding(TABLE, 1, "is missing, and there are mutexes")] if real else []
    findings, seen = [], set()
    for number, name, under in reversed(list(rows(tree.text(TABLE)))):
        if name not in real or name in seen:
            findings.append(Finding(TABLE, number, f"{name}: no such mutex, or a second row"))
        findings += [Finding(TABLE, number, f"{name}: {other} has no row further down") for other in under if other not in seen]
        seen.add(name)
    for name in real.keys() - seen:
        path = name.split(":")[0]
        findings.append(Finding(path, real[name], f"{name} has no row in {TABLE}: what it guards, and what is taken under it"))
    return findings
