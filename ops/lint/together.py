"""Sources of a library are compiled together (headgate_unity in ops/cmake), so their anonymous namespaces are one. So are
those of the tests beside it, and the suites of a folder of tests/; its other programs have a source or two, and the
compiler tells there."""

import collections
import re

from layers import is_test
from source import Finding, code_only, line_of

CONSTANT = re.compile(r"^(?:static |inline )*const(?:expr)?\b[^;=({]*?\b(\w+)(?:\[\w*\])?\s*[={]", re.MULTILINE)
TYPE = re.compile(r"^(?:struct|class|enum class|enum) (\w+)\b[^;]*$", re.MULTILINE)
FUNCTION = re.compile(r"^(?!\s|return|using|namespace|template|static_assert|struct|class|enum|const|else|TEST_)[\w:<>,&* ]+[ &*](\w+)\(([^()]*(?:\([^()]*\)[^()]*)*)\)"
                      r"(?: const| noexcept)* \{", re.MULTILINE)
ALONE = re.compile(r"headgate_library\(\w+[^)]*\bALONE\b")


def anonymous(code):
    """(offset, text) of each anonymous namespace; clang-format ends one with a } of its own at the left edge."""
    for match in re.finditer(r"^namespace \{$", code, re.MULTILINE):
        end = code.find("\n}  ", match.end())
        yield match.end(), code[match.end():end if end > 0 else len(code)]


def names(code):
    for offset, text in anonymous(code):
        for match in CONSTANT.finditer(text):
            yield match[1], offset + match.start()
        for match in TYPE.finditer(text):
            yield match[1], offset + match.start()
        for match in FUNCTION.finditer(text):
            types = re.sub(r"\s+", " ", re.sub(r"\b(\w+)\s*(,|$)", r"\2", match[2]))
            yield f"{match[1]}({types})", offset + match.start()


def has_suites(tree, folder):
    build = f"{folder}/CMakeLists.txt"
    return build in tree.paths and "headgate_suites(" in tree.text(build)


def run(tree):
    findings = []
    folders = collections.defaultdict(list)
    for path in tree.cpp():
        if not path.endswith(".cc") or "/" not in path or path.endswith("/main.cc"):
            continue
        folder = path.rsplit("/", 1)[0]
        if not is_test(path) or path.endswith("_test.cc") and (not path.startswith("tests/") or has_suites(tree, folder)):
            folders[folder, is_test(path)].append(path)
    for (folder, _), paths in folders.items():
        build = f"{folder}/CMakeLists.txt"
        if build in tree.paths and ALONE.search(tree.text(build)):
            continue
        seen = {}
        for path in sorted(paths):
            code = code_only(tree.text(path))
            for name, offset in names(code):
                if seen.setdefault(name, path) != path:
                    findings.append(Finding(path, line_of(code, offset), f"{name} is in {seen[name]}, too: another name, or "
                                            f"ALONE in {build}"))
    return findings
