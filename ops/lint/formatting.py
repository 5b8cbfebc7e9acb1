"""clang-format-14 with the rules of .clang-format. Other versions format differently, so only this one is asked."""

import re
import shutil
import subprocess

from source import Finding

PROGRAM = "clang-format-14"


def run(tree):
    """None when the program is not installed."""
    if shutil.which(PROGRAM) is None:
        return None
    findings = []
    paths = tree.cpp()
    for start in range(0, len(paths), 40):
        answer = subprocess.run([PROGRAM, "--dry-run", "-Werror", *paths[start:start + 40]], cwd=tree.root,
                                capture_output=True, text=True, check=False)
        seen = set()
        for match in re.finditer(r"^(.+?):(\d+):\d+: error: code should be clang-formatted", answer.stderr, re.MULTILINE):
            if match[1] not in seen:
                seen.add(match[1])
                findings.append(Finding(match[1], int(match[2]), f"is not formatted: {PROGRAM} -i {match[1]}"))
        if answer.returncode and not seen:
            findings.append(Finding(".clang-format", 1, answer.stderr.strip()[:500]))
    return findings
