"""Counts test cases from what ctest and the test programs left behind.

Each doctest program appends lines to HEADGATE_TEST_RESULTS (tests/support/test_main.cc):
  suite<TAB>program<TAB>passed<TAB>failed<TAB>skipped    server<TAB>program<TAB>name    skip<TAB>program<TAB>reason
ctest's own JUnit file tells which programs ran at all. A program that crashed or was killed left no suite line.
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


class Program:
    """What one test program wrote about itself; it may have run several times."""

    def __init__(self):
        self.runs = 0
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.skip_reasons = []


def read_result_file(path, tally):
    programs = collections.defaultdict(Program)
    if not os.path.exists(path):
        return programs
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if fields[0] == "suite" and len(fields) == 5:
                program = programs[fields[1]]
                program.runs += 1
                program.passed += int(fields[2])
                program.failed += int(fields[3])
                program.skipped += int(fields[4])
            elif fields[0] == "server" and len(fields) == 3:
                tally.servers[fields[2]].add(fields[1])
            elif fields[0] == "skip" and len(fields) == 3:
                programs[fields[1]].skip_reasons.append(fields[2])
    return programs


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


def add_ctest_results(tally, program_of_test, junit, programs):
    """Joins both sources. `program_of_test`: ctest's name of a test -> name of the executable it runs."""
    by_program = collections.defaultdict(list)
    for name, status, output in junit:
        by_program[program_of_test.get(name, name)].append((name, status, output))
    for program, tests in sorted(by_program.items()):
        add_program(tally, program, tests, programs.get(program))


def add_program(tally, program, tests, wrote):
    failed = [test for test in tests if test[1] == "fail"]
    silent = len(tests)
    if wrote:
        silent -= wrote.runs
        tally.ok(wrote.passed)
        if wrote.skipped:
            tally.skip(program, "; ".join(wrote.skip_reasons) or "no reason given", wrote.skipped)
        if wrote.failed:
            tally.fail(program, output_of(failed), wrote.failed)
        elif failed and silent <= 0:
            tally.fail(program, "all cases passed, but the program ended with an error\n" + output_of(failed))
    if silent > 0:
        add_silent(tally, program, tests, silent, failed if not (wrote and wrote.failed) else [])


def add_silent(tally, program, tests, silent, failed):
    """Tests without a suite line: other kinds of programs when they passed, crashed ones when they did not."""
    lost = min(len(failed), silent)
    if lost:
        tally.fail(program, "ended without a result (crash, time-out, or no doctest program)\n" + output_of(failed), lost)
    not_run = [test for test in tests if test[1] in ("notrun", "disabled")]
    for name, status, output in not_run[:silent - lost]:
        if status == "disabled" or "SKIP" in output.upper():
            tally.skip(name, output.strip()[:300] or "disabled")
        else:
            tally.fail(name, "was not run: " + (output.strip() or "its program was not built"))
    tally.ok(max(0, silent - lost - len(not_run)))


def output_of(tests, lines_max=80):
    text = []
    for name, _, output in tests:
        lines = output.rstrip().splitlines()
        if len(lines) > lines_max:
            lines = [f"… {len(lines) - lines_max} lines before", *lines[-lines_max:]]
        text.append(f"--- {name}\n" + "\n".join(lines))
    return "\n".join(text)
