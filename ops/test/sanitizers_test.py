"""Reports of sanitizers: all are seen, and what a user asks of a sanitizer counts."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import results  # noqa: E402
import sanitizers  # noqa: E402


class Reports(unittest.TestCase):
    def test_each_process_that_reported_is_a_failure(self):
        tally = results.Tally()
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("tsan.headgate-relay.7", "WARNING: data race"), ("asan.headgate-engine.8", "\n")):
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            sanitizers.add_reports(tally, folder)
        self.assertEqual([("sanitizer: tsan.headgate-relay.7", "WARNING: data race")], tally.failures)

    def test_what_the_user_asks_for_comes_last_and_so_wins(self):
        variables = sanitizers.environment("/reports", {"TSAN_OPTIONS": "log_path=stderr"})
        self.assertTrue(variables["TSAN_OPTIONS"].endswith(":log_path=stderr"))
        self.assertIn("log_path=/reports/asan", variables["ASAN_OPTIONS"])

    def test_suppressions_are_files_of_the_tree(self):
        for name in sanitizers.SUPPRESSIONS.values():
            path = os.path.join(sanitizers.FOLDER, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8") as lines:
                    self.assertTrue(lines.readline().startswith("#"), "says why first")


if __name__ == "__main__":
    unittest.main()
