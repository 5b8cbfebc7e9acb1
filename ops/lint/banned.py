"""Calls we do without, each with what to use in its place."""

import re

from source import Finding, code_only, line_of

# getaddrinfo() can be neither bounded nor stopped, so its thread must be one that is left behind.
RESOLVER = "base/postgres/resolve.cc"
# (pattern over code without comments and strings, what to use instead, paths where it is allowed)
CALLS = [
    (r"\bstd::thread\b(?!::)", "std::jthread with a stop_token, named and joined by its owner", (RESOLVER,)),
    (r"[.>]detach\s*\(", "a std::jthread that its owner joins", (RESOLVER,)),
    # gRPC's reactors own themselves: made by the method that returns them, deleted in OnDone.
    (r"\bnew\s+(?!\w*Reactor\b)(?:\(|[A-Za-z_:])", "std::make_unique, or a value", ()),
    (r"(?<![\w=])(?<!= )\bdelete\b\s*(?!\s*this\b)(?:\[\s*\]\s*)?[A-Za-z_(*]", "an owner: a value or a std::unique_ptr", ()),
    (r"\bsleep_(?:for|until)\b", "Clock::sleep, a wait with a stop_token, or wait_until in tests",
     ("base/clock.cc", "tests/support/")),
    (r"(?<![\w:.>])(?:::)?(?:usleep|nanosleep|sleep\s*\(\s*\d)\b", "Clock::sleep, a wait with a stop_token, or wait_until in tests", ()),
    (r"\babsl::string_view\b(?!\()", "std::string_view, converted only in the call itself", ("base/",)),
    (r"(?<![\w.>])(?:std::|::)?system\s*\(", "posix_spawn with a list of arguments, or the library's call", ()),
    (r"\b(?:popen|strtok|gets|sprintf|strcpy|strcat)\s*\(", "the standard library", ()),
    (r"\busing\s+namespace\s+std\s*;", "the full name", ()),
    (r"\brand\s*\(\s*\)", "<random>", ()),
]
COMPILED = [(re.compile(pattern), instead, allowed) for pattern, instead, allowed in CALLS]
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")


def has_owner_at_once(code, match):
    """std::unique_ptr<T>(new T(...)): the form that a private constructor needs."""
    if not match[0].startswith("new"):
        return False
    return re.search(r"_ptr<[^;{}]*>\s*\w*\(\s*$", code[:match.start()][-200:]) is not None


def run(tree):
    findings = []
    for path in tree.cpp():
        text = tree.text(path)
        code = code_only(text)
        for pattern, instead, allowed in COMPILED:
            if allowed and path.startswith(allowed):
                continue
            for match in pattern.finditer(code):
                if has_owner_at_once(code, match):
                    continue
                findings.append(
                    Finding(path, line_of(code, match.start()), f"'{match[0].strip()}' is banned: use {instead}"))
        for match in TODO.finditer(text):
            findings.append(Finding(path, line_of(text, match.start()), f"{match[0]} without an issue, as in TODO(#12)"))
        if path.endswith(".h") and "#pragma once" not in text:
            findings.append(Finding(path, 1, "a header begins with #pragma once"))
    return findings
