"""The stages of a run: each name is a target that exists, and none is dropped in silence."""

import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

import stages  # noqa: E402


def text_of_build_files():
    parts = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in (".git", "build", "node_modules")]
        for name in files:
            if name == "CMakeLists.txt":
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    parts.append(file.read())
    return "\n".join(parts)


class Stages(unittest.TestCase):
    def test_every_test_of_a_stage_is_in_the_build_files(self):
        text = text_of_build_files()
        for stage in stages.STAGES.values():
            for name in stage.tests or ():
                library = re.sub(r"_test$", "", name)
                source = re.sub(r"^headgate_", "", name) + ".cc"
                self.assertTrue(re.search(rf"headgate_library\({library}\b", text) or re.search(rf"\({name}\b", text)
                                or os.path.exists(os.path.join(ROOT, "tests/integration", source)), name)

    def test_a_stage_that_runs_tests_builds_them(self):
        for stage in stages.STAGES.values():
            if stage.targets and "headgate_integration_tests" not in stage.targets:
                self.assertEqual(set(), set(stage.tests or ()) - set(stage.targets))

    def test_only_whole_names_are_selected(self):
        words = stages.selection(stages.STAGES["tsan"])
        self.assertEqual("-R", words[0])
        self.assertIsNone(re.search(words[1], "headgate_base_test_more"))
        self.assertEqual([], stages.selection(stages.STAGES["debug"]))

    def test_a_stage_beyond_the_limit_does_not_fit(self):
        stage = stages.STAGES["tsan"]
        self.assertTrue(stages.fits(stage, 1000, None))
        self.assertTrue(stages.fits(stage, 5, 5 + stage.minutes))
        self.assertFalse(stages.fits(stage, 6, 5 + stage.minutes))

    def test_a_slow_machine_is_expected_to_stay_slow(self):
        debug, tsan = stages.STAGES["debug"], stages.STAGES["tsan"]
        self.assertEqual(1, stages.pace([]))
        self.assertEqual(1, stages.pace([(debug, debug.minutes / 4)]))
        self.assertEqual(2, stages.pace([(debug, debug.minutes * 2)]))
        self.assertFalse(stages.fits(tsan, 5, 5 + tsan.minutes, 2))


if __name__ == "__main__":
    unittest.main()
