"""Files of at most 500 lines, functions of at most 70. Exceptions are written down with a reason and only shrink."""

from source import Finding, code_only, functions

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
SIZED = (".cc", ".h", ".py", ".sh", ".js")
SCRIPTS = ("ops/dev", "ops/quickstart", "ops/services/services", ".ci/run")


def run_files(tree):
    findings = []
    for path in tree.paths:
        if not path.endswith(SIZED) and path not in SCRIPTS:
            continue
        lines = tree.text(path).count("\n")
        if lines > FILE_LINES_MAX:
            findings.append(Finding(path, FILE_LINES_MAX, f"{lines} lines; a file has at most {FILE_LINES_MAX}"))
    return findings


def run_functions(tree):
    findings = []
    for path in tree.cpp():
        for name, line, lines in functions(code_only(tree.text(path))):
            if lines > FUNCTION_LINES_MAX:
                findings.append(
                    Finding(path, line, f"{name} has {lines} lines; a function has at most {FUNCTION_LINES_MAX}"))
    return findings
