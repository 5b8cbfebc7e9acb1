"""The counting of test cases: nothing that did not run may look as if it passed."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import results  # noqa: E402


def tally_of(tests, lines=""):
    """tests: [(name, status, output)]"""
    tally = results.Tally()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results.tsv")
        with open(path, "w", encoding="utf-8") as file:
            file.write(lines)
        wrote = results.read_result_file(path, tally)
    results.add_ctest_results(tally, tests, wrote)
    return tally


class Counting(unittest.TestCase):
    def test_cases_of_a_program_are_counted(self):
        tally = tally_of([("a", "fail", "")], "suite\ta\t5\t2\t1\nskip\ta\tno broker\n")
        self.assertEqual("5 passed, 2 failed, 1 skipped", tally.closing_line())
        self.assertEqual([("a", "no broker")], tally.skips)

    def test_a_program_that_crashed_is_a_failure(self):
        tally = tally_of([("a", "fail", "Segmentation fault"), ("b", "run", "")], "suite\tb\t3\t0\t0\n")
        self.assertEqual("3 passed, 1 failed, 0 skipped", tally.closing_line())
        self.assertIn("Segmentation fault", tally.failures[0][1])

    def test_an_error_after_the_last_case_is_a_failure(self):
        self.assertEqual("3 passed, 1 failed, 0 skipped",
                         tally_of([("a", "fail", "leak")], "suite\ta\t3\t0\t0\n").closing_line())

    def test_another_kind_of_program_counts_once(self):
        self.assertEqual("1 passed, 0 failed, 0 skipped", tally_of([("node", "run", "")]).closing_line())
        self.assertEqual("0 passed, 1 failed, 0 skipped", tally_of([("node", "fail", "")]).closing_line())

    def test_a_program_that_was_not_built_is_a_failure(self):
        self.assertEqual("0 passed, 1 failed, 0 skipped", tally_of([("a", "notrun", "")]).closing_line())

    def test_a_disabled_test_is_a_visible_skip(self):
        tally = tally_of([("a", "disabled", "")])
        self.assertEqual("0 passed, 0 failed, 1 skipped", tally.closing_line())
        self.assertEqual(1, len(tally.skips))

    def test_servers_are_collected_by_suite(self):
        tally = tally_of([], "server\ta\tredis 7\nserver\tb\tredis 7\nserver\tb\tredis 7\n")
        self.assertEqual({"a", "b"}, tally.servers["redis 7"])


if __name__ == "__main__":
    unittest.main()
