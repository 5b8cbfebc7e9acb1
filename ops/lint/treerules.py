"""Rules over the tree as a whole: a README per code folder, no path of a machine, no address that is not ours to name."""

import re

from source import Finding, line_of

BINARY = (".png", ".ico", ".jar", ".gz", ".pb", ".bin")
# Folders of one person's or one job's machine. The tree must work at any place.
MACHINE = re.compile(r"(?<![\w.$}*\])])/(?:root|work|home)/[\w.]|\.\./shared\b|(?<![\w/])shared[/]reference\b")
URL = re.compile(r"\b(?:https?|git|ftp)://([A-Za-z0-9.-]+)")
# Package clients know where their packages come from; an address in the tree would bind it to one mirror. Only these
# hosts may be named: documentation, specifications, XML namespaces, loopback and reserved example names.
HOSTS = re.compile(
    r"^(127\.0\.0\.1|0\.0\.0\.0|localhost|[a-z]{1,2}|.*\.?example(\.com|\.org|\.net)?|.*\.(test|invalid|local|svc)"
    r"|www\.apache\.org|cloudevents\.io|www\.cloudevents\.io|json-schema\.org|www\.w3\.org|www\.postgresql\.org"
    r"|github\.com|opencollective\.com|aws\.amazon\.com|keepachangelog\.com|semver\.org|docs\.permify\.co|prometheus\.io|grpc\.io)$")
CODE = (".cc", ".h", ".py", ".sh", ".js", ".proto")
# Folders whose parent explains them.
WITHOUT_README = re.compile(r"^(proto/.+|tests/cases/.*|tests/interop/.+|tests/examples/.+|ops/cmake|ops/services/kafka)$")


# Folders for readers from outside, whose README has a title of its own.
OWN_TITLE = re.compile(r"^(docs|examples|ops/decisions)(/.*)?$")

# Inputs of the fuzzers are data: whatever they say, nobody follows it.
CORPUS = "tests/fuzz/corpus/"


def readable(tree):
    return [path for path in tree.paths if not path.endswith(BINARY) and not path.startswith(CORPUS)]


def run_readmes(tree):
    folders = {path.rsplit("/", 1)[0] for path in tree.paths if "/" in path and path.endswith(CODE)}
    return [
        Finding(folder, 1, "a folder of code has a README.md: flow, classes, threads, caveats")
        for folder in sorted(folders)
        if f"{folder}/README.md" not in tree.paths and not WITHOUT_README.match(folder)
    ]


def run_titles(tree):
    findings = []
    for path in tree.paths:
        if "/" not in path or not path.endswith("/README.md"):
            continue
        folder = path.rsplit("/", 1)[0]
        first = tree.text(path).split("\n", 1)[0]
        if first != f"# {folder}" and not OWN_TITLE.match(folder):
            findings.append(Finding(path, 1, f"the first line of a folder's README is '# {folder}'"))
    return findings


def run_machine_paths(tree):
    findings = []
    for path in readable(tree):
        text = tree.text(path)
        for match in MACHINE.finditer(text):
            findings.append(Finding(path, line_of(text, match.start()), f"'{match[0]}' is a path of one machine"))
    return findings


def run_addresses(tree):
    findings = []
    for path in readable(tree):
        text = tree.text(path)
        for match in URL.finditer(text):
            if not HOSTS.match(match[1]):
                findings.append(Finding(path, line_of(text, match.start()),
                                        f"address of {match[1]}: not among the hosts that ops/lint/treerules.py allows"))
    return findings


def run_leftovers(tree):
    findings = []
    for path in readable(tree):
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if re.match(r"^(<{7} |>{7} |={7}$)", line):
                findings.append(Finding(path, number, "a mark of an unfinished merge"))
    return findings
