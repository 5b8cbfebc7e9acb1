"""Counts test cases from what ctest and the test programs left behind.

Each doctest program appends lines to HEADGATE_TEST_RESULTS (tests/support/test_main.cc), under ctest's name of the test:
  suite<TAB>test<TAB>passed<TAB>failed<TAB>skipped    server<TAB>test<TAB>name    skip<TAB>test<TAB>reason
ctest's own JUnit file tells which tests ran at all. A program that crashed or was killed left no suite line.
"""

import collections
import os
import xml.etree.ElementTree as ElementTree


class Tally:
    """Cases by outcome, with what a reader must see about each that did not pass."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.failures = []  # (name, text)
        self.skips = []     # (name, reason)
        self.servers = collections.defaultdict(set)  # server -> programs

    def ok(self, count=1):
        self.passed += count

    def fail(self, name, text, count=1):
        self.failed += count
        self.failures.append((name, text))

    def skip(self, name, reason, count=1):
        self.skipped += count
        self.skips.append((name, reason))

    def closing_line(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


class Suite:
    """What the program of one test wrote about itself."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.skip_reasons = []


def read_result_file(path, tally):
    """{test name: Suite}"""
    suites = collections.defaultdict(Suite)
    if not os.path.exists(path):
        return suites
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if fields[0] == "suite" and len(fields) == 5:
                suite = suites[fields[1]]
                suite.passed += int(fields[2])
                suite.failed += int(fields[3])
                suite.skipped += int(fields[4])
            elif fields[0] == "server" and len(fields) == 3:
                tally.servers[fields[2]].add(fields[1])
            elif fields[0] == "skip" and len(fields) == 3:
                suites[fields[1]].skip_reasons.append(fields[2])
    return suites


def read_junit(path):
    """[(test name, status, output)]; status is run, fail, notrun or disabled."""
    cases = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        output = case.findtext("system-out") or ""
        skipped = case.find("skipped")
        status = case.get("status", "run")
        if skipped is not None:
            output = output or skipped.get("message", "")
        cases.append((case.get("name"), status, output))
    return cases


def add_ctest_results(tally, junit, suites):
    """Joins both sources."""
    for name, status, output in sorted(junit):
        add_suite(tally, (name, status, output), suites.get(name))


def add_suite(tally, test, wrote):
    name, status, output = test
    if wrote is None:
        add_silent(tally, test)
        return
    tally.ok(wrote.passed)
    if wrote.skipped:
        tally.skip(name, "; ".join(wrote.skip_reasons) or "no reason given", wrote.skipped)
    if wrote.failed:
        tally.fail(name, end_of(output), wrote.failed)
    elif status == "fail":
        tally.fail(name, "all cases passed, but the program ended with an error\n" + end_of(output))


def add_silent(tally, test):
    """Without a suite line: another kind of program when it passed, a crashed one when it did not."""
    name, status, output = test
    if status == "fail":
        tally.fail(name, "ended without a result (crash, time-out, or no doctest program)\n" + end_of(output))
    elif status == "disabled" or status == "notrun" and "SKIP" in output.upper():
        tally.skip(name, output.strip()[:300] or "disabled")
    elif status == "notrun":
        tally.fail(name, "was not run: " + (output.strip() or "its program was not built"))
    else:
        tally.ok()


def end_of(output, lines_max=80):
    lines = output.rstrip().splitlines()
    if len(lines) > lines_max:
        lines = [f"… {len(lines) - lines_max} lines before", *lines[-lines_max:]]
    return "\n".join(lines)
