"""What the lock analysis of clang needs to be told, because it only checks what is annotated. Tests may do without.

- A function *_locked says which mutex its caller holds: REQUIRES_LOCK.
- Members stand in groups: what follows a Mutex, up to an empty line, is GUARDED_BY one, or brings its own
  synchronisation (Condition, std::atomic, std::jthread, another Mutex), or is const.
- A mutex that no annotation of its file names guards nothing that can be checked.
- A member of type std::mutex is invisible to the analysis: Mutex of base/mutex.h.
- Who switches the analysis off for a function says in the comment above why it is safe.
"""

import re

from layers import is_test
from source import Finding, code_only, line_of

LOCKED = re.compile(r"^[ \t]+(?:[\w:<>,&*~ ]+[ &*])(\w+_locked)\(([^;{}]*)\)([^;{}()]*(?:\([^;{}]*\))?[^;{}]*)[;{]", re.MULTILINE)
MUTEX = re.compile(r"^[ \t]+(?:mutable )?Mutex (\w+);", re.MULTILINE)
OWN = re.compile(r"^\s*(mutable )?(static )?(Mutex|Condition|std::atomic|std::jthread|const\b|constexpr)|> const |\* const |& \w+;")
MEMBER = re.compile(r"^\s*[\w:<>,&*() ]+[ >&*]\w+\b.*;")
PLAIN = re.compile(r"\bstd::(?:recursive_|shared_|timed_)?mutex \w+_;")
OFF = re.compile(r"\bNO_LOCK_ANALYSIS\b")


def members_behind(lines, start):
    """(line number, text) of the members of the mutex' group; several lines of one member are joined."""
    joined, first = "", 0
    for number in range(start, len(lines)):
        text = lines[number].strip()
        if not text or text.startswith(("}", "private:", "public:", "struct ", "class ", "enum ", "using ", "friend ")):
            return
        if not joined:
            first = number
        joined = (joined + " " + text).strip()
        if joined.endswith(";"):
            yield first + 1, joined
            joined = ""


def check_groups(path, code):
    findings = []
    lines = code.splitlines()
    for match in MUTEX.finditer(code):
        number = line_of(code, match.start())
        name = match[1]
        if not re.search(rf"\b(?:GUARDED_BY|REQUIRES_LOCK|ASSERTS_LOCK)\([^)]*\b{name}\b", code):
            findings.append(Finding(path, number, f"nothing is GUARDED_BY({name}): say what it guards"))
        for at, member in members_behind(lines, number):
            if "GUARDED_BY(" in member or OWN.search(member) or not MEMBER.match(member) or re.search(r"\)\s*(const)?;", member):
                continue
            findings.append(Finding(path, at, f"'{member}' stands with {name}: GUARDED_BY it, or an empty line between"))
    return findings


def run(tree):
    findings = []
    for path in tree.cpp():
        if is_test(path) or path.endswith(("/fakes.h", "/fake_engine.h")) or path == "base/mutex.h":
            continue
        text = tree.text(path)
        code = code_only(text)
        if path.endswith(".h"):
            for match in LOCKED.finditer(code):
                if not re.search(r"\b(REQUIRES_LOCK|ASSERTS_LOCK)\(", match[0]):
                    findings.append(Finding(path, line_of(code, match.start(1)), f"{match[1]} without REQUIRES_LOCK"))
        for match in PLAIN.finditer(code):
            findings.append(Finding(path, line_of(code, match.start()), "a std::mutex as a member: use Mutex (base/mutex.h)"))
        findings += check_groups(path, code)
        lines = text.splitlines()
        for match in OFF.finditer(code):
            number = line_of(code, match.start())
            if "#define" in lines[number - 1] or lines[number - 2].strip().startswith("//"):
                continue
            findings.append(Finding(path, number, "NO_LOCK_ANALYSIS without a comment above that says why it is safe"))
    return findings
