"""Files of the tree and the little C++ reading that the rules need."""

import os
import re
import subprocess

CPP = (".cc", ".h")


class Finding:
    """One broken rule; prints as path:line: text."""

    def __init__(self, path, line, text):
        self.path = path
        self.line = line
        self.text = text

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


class Tree:
    """The files under `root` that git knows or would add; contents are read once."""

    def __init__(self, root, paths=None):
        self.root = root
        self.paths = sorted(paths if paths is not None else self.list_paths())
        self.texts = {}

    def list_paths(self):
        command = ["git", "-C", self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        except (OSError, subprocess.CalledProcessError):
            listed = []
            for folder, folders, files in os.walk(self.root):
                folders[:] = [name for name in folders if name not in (".git", "build", "node_modules", "__pycache__")]
                listed += [os.path.relpath(os.path.join(folder, name), self.root) for name in files]
        return {path for path in listed if path and os.path.isfile(os.path.join(self.root, path))}

    def text(self, path):
        if path not in self.texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                self.texts[path] = file.read()
        return self.texts[path]

    def cpp(self):
        return [path for path in self.paths if path.endswith(CPP)]


TOKEN = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|R"(?P<mark>[^ ()\\\n]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)


def code_only(text):
    """The text with comments, strings and character literals blanked; lines and columns stay where they are."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


NOT_A_FUNCTION = re.compile(r"\b(namespace|class|struct|union|enum|extern|concept|requires)\b")
CONTROL = re.compile(r"\b(if|else|for|while|do|switch|catch|try|return)\b")
NAME = re.compile(r"([~A-Za-z_][\w:~]*|operator[^\w\s(]+)\s*\(")


def functions(code):
    """[(name, line, lines)] of the outermost functions: lambdas and blocks count to the function around them."""
    found = []
    stack = []  # kind of each open brace: "function", "init" or "other"
    begin = 0   # where the text before the next brace starts
    opened = None
    for match in re.finditer(r"[{};]", code):
        at = match.start()
        if match[0] == "{":
            header = code[begin:at]
            kind = kind_of_brace(header, stack)
            if kind == "function" and "function" not in stack:
                opened = (name_of(header), at)
            stack.append(kind)
            if kind != "init":
                begin = at + 1
        elif match[0] == "}":
            kind = stack.pop() if stack else "other"
            if kind == "function" and "function" not in stack and opened:
                line = line_of(code, opened[1])
                found.append((opened[0], line, line_of(code, at) - line + 1))
            if kind != "init":
                begin = at + 1
        elif "init" not in stack:
            begin = at + 1
    return found


def kind_of_brace(header, stack):
    if "function" in stack:
        return "other"
    header = re.sub(r"^\s*#[^\n]*$", "", header, flags=re.MULTILINE)
    # A member initialised with braces in a constructor's list; the body comes after it.
    if re.search(r"\)\s*:(?!:)", header) and re.search(r"[\w>]\s*$", header):
        return "init"
    if ")" not in header or re.search(r"=\s*$", header):
        return "other"
    if re.search(r"\bTEST_SUITE(_BEGIN)?\s*\(", header):
        return "other"
    before_arguments = header.split("(", 1)[0]
    if NOT_A_FUNCTION.search(before_arguments) and "operator" not in before_arguments:
        if not re.search(r"\b(TEST_CASE|SUBCASE)", header):
            return "other" if not re.search(r"\bstruct\s+\w+\s+\w", before_arguments) else "function"
    if CONTROL.search(before_arguments):
        return "other"
    return "function"


def name_of(header):
    match = NAME.search(header)
    return match[1] if match else "?"
