#!/usr/bin/env python3
"""Checks the tree against the house rules: `ops/dev lint`. Standard library only.

Exit code 0 without findings. Exceptions stand in exceptions.txt, with reasons, and can only shrink.
"""

import collections
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

import banned  # noqa: E402
import formatting  # noqa: E402
import layers  # noqa: E402
import lock_order  # noqa: E402
import locks  # noqa: E402
import sizes  # noqa: E402
import together  # noqa: E402
import treerules  # noqa: E402
from source import Finding, Tree  # noqa: E402

RULES = {
    "include-direction": layers.run,
    "file-size": sizes.run_files,
    "function-length": sizes.run_functions,
    "banned-calls": banned.run,
    "locks": locks.run,
    "lock-order": lock_order.run,
    "together": together.run,
    "readmes": treerules.run_readmes,
    "titles": treerules.run_titles,
    "machine-paths": treerules.run_machine_paths,
    "addresses": treerules.run_addresses,
    "leftovers": treerules.run_leftovers,
    "format": formatting.run,
}
EXCEPTIONS = "ops/lint/exceptions.txt"


def read_exceptions(text):
    """({(rule, path): count}, [Finding])"""
    allowed = {}
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(None, 3)
        if len(fields) < 4 or fields[0] not in RULES or not fields[2].isdigit():
            faults.append(Finding(EXCEPTIONS, number, "expected: RULE PATH COUNT REASON"))
            continue
        allowed[(fields[0], fields[1])] = int(fields[2])
    return allowed, faults


def apply_exceptions(rule, findings, allowed):
    """What remains; a path with more findings than allowed shows all of them."""
    by_path = collections.defaultdict(list)
    for finding in findings:
        by_path[finding.path].append(finding)
    remaining = []
    for path, found in by_path.items():
        limit = allowed.get((rule, path), 0)
        if len(found) > limit:
            remaining += found
        elif len(found) < limit:
            remaining.append(Finding(EXCEPTIONS, 1, f"{rule} {path}: {len(found)} are left, lower {limit} to that"))
    for (name, path), limit in allowed.items():
        if name == rule and path not in by_path:
            remaining.append(Finding(EXCEPTIONS, 1, f"{rule} {path}: nothing is left, remove the line"))
    return remaining


def run(root, paths=None):
    """{rule: [Finding], or None when the rule's program is not installed}"""
    tree = Tree(root, paths)
    allowed, faults = read_exceptions(tree.text(EXCEPTIONS) if EXCEPTIONS in tree.paths else "")
    outcome = {}
    for rule, check in RULES.items():
        findings = check(tree)
        outcome[rule] = None if findings is None else apply_exceptions(rule, findings, allowed)
    outcome["exceptions"] = faults
    return outcome


def main():
    root = os.path.dirname(os.path.dirname(HERE))
    count = 0
    for rule, findings in run(root).items():
        if findings is None:
            print(f"lint: {rule}: NOT CHECKED, its program is not installed (ops/dev setup)", file=sys.stderr)
            continue
        for finding in findings:
            print(f"{finding} [{rule}]")
        count += len(findings)
    if count:
        print(f"{count} findings", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
