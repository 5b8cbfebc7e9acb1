"""What a run needs so that no report of a sanitizer gets lost.

Many programs are started by tests and killed by them, so neither their exit code nor their output tells of a report.
Each process writes its reports to a file of its own instead, and every such file is a failure of the run.
"""

import os

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Reports inside libraries, each with its reason.
SUPPRESSIONS = {"LSAN": "suppressions-lsan.txt", "TSAN": "suppressions-tsan.txt"}
OPTIONS = {
    "ASAN": "detect_stack_use_after_return=1",
    "LSAN": "print_suppressions=0",
    "TSAN": "second_deadlock_stack=1",
    "UBSAN": "print_stacktrace=1",
}


def environment(reports, given):
    """The variables that make every sanitizer write below the folder `reports`; what is `given` in them stays in force."""
    variables = {}
    for sanitizer, options in OPTIONS.items():
        words = [options, f"log_path={os.path.join(reports, sanitizer.lower())}", "log_exe_name=1"]
        path = os.path.join(FOLDER, SUPPRESSIONS.get(sanitizer, ""))
        if os.path.isfile(path):
            words.append(f"suppressions={path}")
        name = sanitizer + "_OPTIONS"
        if given.get(name):
            words.append(given[name])
        variables[name] = ":".join(words)
    return variables


def add_reports(tally, reports):
    """One failure for each process that reported something."""
    for name in sorted(os.listdir(reports)):
        with open(os.path.join(reports, name), encoding="utf-8", errors="replace") as file:
            text = file.read()
        if text.strip():
            tally.fail(f"sanitizer: {name}", text[:20000])
