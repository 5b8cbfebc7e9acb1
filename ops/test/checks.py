"""Everything `ops/dev test` runs besides the test programs: lint, the tests of the tools, shell scripts, the quickstart."""

import os
import re
import shutil
import subprocess
import sys
import unittest

TOOL_TESTS = ("ops/lint", "ops/test")


def files_of_tree(root):
    """Paths that git knows or would add; all files where there is no git."""
    command = ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        return sorted({name for name in names if name and os.path.isfile(os.path.join(root, name))})
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name not in (".git", "build", "node_modules")]
            found += [os.path.relpath(os.path.join(folder, name), root) for name in files]
        return sorted(found)


def shell_scripts(root):
    scripts = []
    for name in files_of_tree(root):
        with open(os.path.join(root, name), "rb") as file:
            head = file.readline(200)
        if name.endswith(".sh") or re.match(rb"#!.*\b(ba|da)?sh\b", head):
            scripts.append(name)
    return scripts


def run_lint(tally, root):
    sys.path.insert(0, os.path.join(root, "ops/lint"))
    import lint  # pylint: disable=import-outside-toplevel
    for rule, findings in lint.run(root).items():
        if findings is None:
            tally.skip(f"lint: {rule}", "its program is not installed")
        elif findings:
            tally.fail(f"lint: {rule}", "\n".join(str(finding) for finding in findings))
        else:
            tally.ok()


def run_shellcheck(tally, root, must):
    if shutil.which("shellcheck") is None:
        if must:
            tally.fail("shellcheck", "is not installed")
        else:
            tally.skip("shellcheck", "is not installed")
        return
    for script in shell_scripts(root):
        answer = subprocess.run(["shellcheck", "-x", script], cwd=root, capture_output=True, text=True, check=False)
        if answer.returncode:
            tally.fail(f"shellcheck: {script}", answer.stdout + answer.stderr)
        else:
            tally.ok()


def run_python_syntax(tally, root):
    for name in files_of_tree(root):
        if not name.endswith(".py"):
            continue
        with open(os.path.join(root, name), encoding="utf-8") as file:
            try:
                compile(file.read(), name, "exec")
                tally.ok()
            except SyntaxError as error:
                tally.fail(f"python: {name}", str(error))


def run_tool_tests(tally, root):
    """The unit tests of our own Python tools."""
    for folder in TOOL_TESTS:
        suite = unittest.TestLoader().discover(os.path.join(root, folder), pattern="*_test.py",
                                               top_level_dir=os.path.join(root, folder))
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            outcome = unittest.TextTestRunner(stream=nowhere, verbosity=0).run(suite)
        bad = outcome.failures + outcome.errors
        tally.ok(outcome.testsRun - len(bad))
        for test, text in bad:
            tally.fail(str(test), text)


def run_all(tally, root, wanted, must, say):
    parts = {
        "lint": lambda: run_lint(tally, root),
        "shellcheck": lambda: run_shellcheck(tally, root, must),
        "python": lambda: run_python_syntax(tally, root),
        "tools": lambda: run_tool_tests(tally, root),
    }
    before = tally.passed + tally.failed + tally.skipped
    for name, part in parts.items():
        if wanted is None or re.search(wanted, name):
            part()
    count = tally.passed + tally.failed + tally.skipped - before
    if count:
        say(f"checks of the tree: {count}, {tally.failed} failed")


def run_quickstart(tally, root, build, wanted, environment, say):
    """The README's first command, with the programs that were just built."""
    if wanted is not None and not re.search(wanted, "quickstart"):
        return
    # The tsan preset is without gRPC, and so without the programs.
    if not os.path.exists(os.path.join(build, "engine/headgate-engine")):
        say("no quickstart: this preset builds no programs")
        return
    say("running ops/quickstart --check …")
    command = [os.path.join(root, "ops/quickstart"), "--check", "--build", build]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, errors="replace", env=environment, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace")
        tally.fail("quickstart", "did not end within ten minutes\n" + text[-4000:])
        return
    if answer.returncode:
        tally.fail("quickstart", answer.stdout[-8000:])
    else:
        tally.ok()
