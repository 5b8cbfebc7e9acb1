"""Each rule finds the fault that is planted for it, and nothing in a clean tree."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lint  # noqa: E402
from source import code_only, functions  # noqa: E402


def findings(files, rule):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        return [str(finding) for finding in lint.run(root, list(files))[rule]]


def header(text):
    return "#pragma once\n" + text


class Locks(unittest.TestCase):
    def test_what_stands_with_a_mutex_is_guarded(self):
        text = header("class A {\n  Mutex mutex_;\n  int a_ GUARDED_BY(mutex_) = 0;\n  int b_ = 0;\n\n  int c_ = 0;\n};\n")
        found = findings({"base/a.h": text}, "locks")
        self.assertEqual(1, len(found))
        self.assertIn("int b_", found[0])

    def test_own_synchronisation_may_stand_with_a_mutex(self):
        text = header("class A {\n  Mutex mutex_;\n  Condition changed_;\n  std::atomic<int> a_ = 0;\n"
                      "  std::map<int,\n           int> b_ GUARDED_BY(mutex_);\n  const int c_;\n};\n")
        self.assertEqual([], findings({"base/a.h": text}, "locks"))

    def test_a_mutex_that_guards_nothing_is_found(self):
        self.assertEqual(1, len(findings({"base/a.h": header("class A {\n  Mutex mutex_;\n};\n")}, "locks")))

    def test_a_locked_function_says_which_lock(self):
        text = "class A {\n  void go_locked(int a)%s;\n  Mutex mutex_;\n  int a_ GUARDED_BY(mutex_);\n};\n"
        self.assertEqual(1, len(findings({"base/a.h": header(text % "")}, "locks")))
        self.assertEqual([], findings({"base/a.h": header(text % " REQUIRES_LOCK(mutex_)")}, "locks"))

    def test_the_analysis_is_not_switched_off_without_a_reason(self):
        text = "%s  int a() const NO_LOCK_ANALYSIS;\n"
        self.assertEqual(1, len(findings({"base/a.h": header(text % "\n")}, "locks")))
        self.assertEqual([], findings({"base/a.h": header(text % "  // Of one thread alone.\n")}, "locks"))

    def test_a_plain_mutex_is_no_member(self):
        self.assertEqual(1, len(findings({"base/a.h": header("class A {\n  std::mutex mutex_;\n};\n")}, "locks")))
        self.assertEqual([], findings({"base/a_test.cc": "class A {\n  std::mutex mutex_;\n};\n"}, "locks"))


class LockOrder(unittest.TestCase):
    CODE = {"base/a.h": header("class A {\n  Mutex mutex_;\n  int a_ GUARDED_BY(mutex_);\n};\n"),
            "base/b.h": header("class B {\n  mutable Mutex mutex_;\n  int b_ GUARDED_BY(mutex_);\n};\n")}

    def found(self, *table):
        return findings(self.CODE | {"docs/locks.md": "\n".join(table) + "\n"}, "lock-order")

    def test_each_mutex_has_a_row(self):
        self.assertEqual([], self.found("| `base/a.h:mutex_` | a | `base/b.h:mutex_` |", "| `base/b.h:mutex_` | b | - |"))
        self.assertEqual(1, len(self.found("| `base/a.h:mutex_` | a | - |")))

    def test_no_row_points_upwards(self):
        self.assertEqual(1, len(self.found("| `base/a.h:mutex_` | a | - |", "| `base/b.h:mutex_` | b | `base/a.h:mutex_` |")))

    def test_no_row_outlives_its_mutex(self):
        self.assertEqual(1, len(self.found("| `base/c.h:mutex_` | c | - |", "| `base/a.h:mutex_` | a | - |",
                                           "| `base/b.h:mutex_` | b | - |")))


class Together(unittest.TestCase):
    A = "namespace {\n\nconstexpr int kA = 1;\nint f(int a) {\n  return a;\n}\n\n}  // namespace\n"

    def test_names_repeat_in_no_two_sources_of_a_folder(self):
        self.assertEqual(2, len(findings({"base/a.cc": self.A, "base/b.cc": self.A}, "together")))
        self.assertEqual([], findings({"base/a.cc": self.A, "engine/b.cc": self.A}, "together"))

    def test_a_library_may_compile_its_sources_alone(self):
        build = "headgate_library(headgate_base ALONE)\n"
        self.assertEqual([], findings({"base/CMakeLists.txt": build, "base/a.cc": self.A, "base/b.cc": self.A}, "together"))

    def test_suites_of_a_folder_are_compiled_together_and_other_tests_are_not(self):
        tests = {"tests/a/a_test.cc": self.A, "tests/a/b_test.cc": self.A}
        self.assertEqual([], findings(tests, "together"))
        build = {"tests/a/CMakeLists.txt": "headgate_suites(headgate_a_tests)\n"}
        self.assertEqual(2, len(findings(tests | build, "together")))


class IncludeDirection(unittest.TestCase):
    def test_a_lower_folder_may_not_include_a_higher_one(self):
        found = findings({"engine/storage/a.cc": '#include "engine/api/b.h"\n'}, "include-direction")
        self.assertEqual(1, len(found))
        self.assertIn("engine/storage/a.cc:1", found[0])

    def test_the_way_down_is_free(self):
        text = '#include "engine/storage/b.h"\n#include "base/status.h"\n#include "base/v1/base.pb.h"\n'
        self.assertEqual([], findings({"engine/api/a.cc": text}, "include-direction"))

    def test_engine_and_relay_do_not_know_each_other(self):
        self.assertEqual(1, len(findings({"engine/a.cc": '#include "relay/hub/b.h"\n'}, "include-direction")))
        self.assertEqual(1, len(findings({"relay/a.cc": '#include "engine/api/b.h"\n'}, "include-direction")))

    def test_sinks_do_not_know_the_relay(self):
        self.assertEqual(1, len(findings({"sinks/kafka/a.cc": '#include "relay/hub/b.h"\n'}, "include-direction")))

    def test_a_library_stays_with_its_owner(self):
        text = "#include <librdkafka/rdkafka.h>\n"
        self.assertEqual(1, len(findings({"relay/hub/a.cc": text}, "include-direction")))
        self.assertEqual([], findings({"sinks/kafka/a.cc": text}, "include-direction"))
        self.assertEqual([], findings({"tests/integration/a.cc": text}, "include-direction"))

    def test_generated_stubs_count_as_grpc(self):
        text = '#include "base/v1/service.grpc.pb.h"\n'
        self.assertEqual(1, len(findings({"engine/feed/a.cc": text}, "include-direction")))
        self.assertEqual([], findings({"engine/api/a.cc": text}, "include-direction"))

    def test_only_tests_include_tests(self):
        text = '#include "tests/support/test_main.h"\n'
        self.assertEqual(1, len(findings({"base/a.cc": text}, "include-direction")))
        self.assertEqual([], findings({"base/a_test.cc": text}, "include-direction"))

    def test_a_folder_outside_the_order_is_reported(self):
        self.assertEqual(1, len(findings({"engine/new/a.cc": '#include "base/status.h"\n'}, "include-direction")))

    def test_headers_are_named_from_the_root(self):
        self.assertEqual(1, len(findings({"base/a.cc": '#include "b.h"\n'}, "include-direction")))


class Sizes(unittest.TestCase):
    def test_a_long_file(self):
        self.assertEqual([], findings({"base/a.cc": "\n" * 500}, "file-size"))
        self.assertEqual(1, len(findings({"base/a.cc": "\n" * 501}, "file-size")))

    def test_a_long_function(self):
        body = "  call();\n"
        self.assertEqual([], findings({"base/a.cc": "void f() {\n" + body * 68 + "}\n"}, "function-length"))
        self.assertEqual(1, len(findings({"base/a.cc": "void f() {\n" + body * 69 + "}\n"}, "function-length")))

    def names(self, text):
        return [name for name, _, _ in functions(code_only(text))]

    def test_functions_are_told_from_other_braces(self):
        text = """
        namespace a { class B : public C<int(int)> { int f() const { return 1; } D d_{1}; };
        const std::map<int, int> kTable = {{1, 2}};
        B::B(int x) : x_(x), y_{x} { if (x) { go(); } }
        enum class E { kOne }; struct S g(int) { return {}; }
        TEST_SUITE("s") { TEST_CASE("c: does } it") { auto l = [](int) { return 1; }; } } }
        """
        self.assertEqual(["f", "B::B", "g", "TEST_CASE"], self.names(text))

    def test_braces_in_text_do_not_count(self):
        self.assertEqual(["f", "g"], self.names('void f() { s = "{"; c = \'{\'; r = R"x({{)x"; } // {\nvoid g() {}\n'))


class BannedCalls(unittest.TestCase):
    def count(self, line, path="relay/hub/a.cc"):
        return len(findings({path: line + "\n"}, "banned-calls"))

    def test_planted_faults(self):
        for line in ("std::thread t(f);", "t.detach();", "auto* p = new Thing();", "delete p;",
                     "std::this_thread::sleep_for(1s);", "absl::string_view v;", 'system("ls");', "sleep(1);",
                     "// TODO later", "using namespace std;"):
            self.assertEqual(1, self.count(line), line)

    def test_what_looks_alike_is_free(self):
        for line in ("std::jthread t(f);", "std::thread::hardware_concurrency();", "A(const A&) = delete;",
                     "// a new thing to delete", 'log("new thread");', "clock.sleep(d, stop);", "file_system();",
                     "return std::unique_ptr<A>(new A(1));", "// TODO(#12) say why", "bool sleep(Duration d);",
                     "delete this;", "return new SessionReactor(session);"):
            self.assertEqual(0, self.count(line), line)

    def test_the_owner_of_a_call_may_use_it(self):
        self.assertEqual(0, self.count("std::this_thread::sleep_for(1s);", "tests/support/a.cc"))
        self.assertEqual(1, self.count("std::this_thread::sleep_for(1s);", "tests/integration/a.cc"))

    def test_a_header_needs_pragma_once(self):
        self.assertEqual(1, self.count("int f();", "base/a.h"))


class TreeRules(unittest.TestCase):
    def test_a_readme_begins_with_the_name_of_its_folder(self):
        self.assertEqual(1, len(findings({"base/README.md": "#base\n"}, "titles")))
        self.assertEqual(1, len(findings({"engine/config/README.md": "#engine / config\n"}, "titles")))
        self.assertEqual([], findings({"engine/config/README.md": "# engine/config\n", "README.md": "# Headgate\n",
                                       "docs/README.md": "# For subscribers\n"}, "titles"))

    def test_a_folder_of_code_has_a_readme(self):
        self.assertEqual(1, len(findings({"base/a.cc": ""}, "readmes")))
        self.assertEqual([], findings({"base/a.cc": "", "base/README.md": ""}, "readmes"))

    def test_paths_of_one_machine(self):
        for place in ("root", "work", "home"):
            self.assertEqual(1, len(findings({"a.md": f"see /{place}/x\n"}, "machine-paths")), place)
            self.assertEqual([], findings({"a.md": f"see ops/{place}/x\n"}, "machine-paths"), place)
        self.assertEqual([], findings({"a.md": "see $HOME/x and /usr/lib\n"}, "machine-paths"))

    def test_addresses_outside_the_list(self):
        self.assertEqual(1, len(findings({"pom.xml": "<url>https:" + "//mirror.somewhere.dev/x</url>\n"}, "addresses")))
        self.assertEqual([], findings({"a.md": "http://127.0.0.1:80 https://relay.example.com\n"}, "addresses"))

    def test_unfinished_merges(self):
        self.assertEqual(1, len(findings({"a.md": "<" * 7 + " mine\n"}, "leftovers")))


class Exceptions(unittest.TestCase):
    LONG = "\n" * 501

    def with_exceptions(self, count, text):
        rules = f"file-size base/a.cc {count} generated table\n"
        return findings({"base/a.cc": text, lint.EXCEPTIONS: rules}, "file-size")

    def test_an_exception_allows_its_count(self):
        self.assertEqual([], self.with_exceptions(1, self.LONG))

    def test_an_exception_can_only_shrink(self):
        self.assertEqual(1, len(self.with_exceptions(2, self.LONG)))
        self.assertEqual(1, len(self.with_exceptions(1, "")))

    def test_an_exception_without_reason_is_a_fault(self):
        self.assertEqual(1, len(findings({lint.EXCEPTIONS: "file-size base/a.cc 1\n"}, "exceptions")))


if __name__ == "__main__":
    unittest.main()
