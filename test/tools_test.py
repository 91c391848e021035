"""Tests of the checks in tools/: each fault that is planted in a copy of the sources is found."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Planted(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for name in ("include", "src", "test/support"):
            shutil.copytree(ROOT / name, self.root / name)

    def tearDown(self):
        self.folder.cleanup()

    def plant(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    def check(self, tool):
        done = subprocess.run([sys.executable, str(ROOT / "tools" / tool), str(self.root)],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def finds(self, tool, name, text, message):
        self.plant(name, text)
        code, out = self.check(tool)
        self.assertEqual(code, 1, out)
        self.assertIn(f"{name}:", out)
        self.assertIn(message, out)


class Layers(Planted):
    def test_the_tree_as_it_is_has_no_problem(self):
        code, out = self.check("check-layers")
        self.assertEqual(code, 0, out)

    def test_an_include_that_goes_up_is_found(self):
        self.finds("check-layers", "src/pg/planted.cpp", '#include "walign/event.hpp"\n', "above pg")

    def test_an_include_of_a_sibling_is_found(self):
        self.finds("check-layers", "include/walign/decode.hpp", '#include "walign/pg.hpp"\n', "siblings")

    def test_an_include_of_a_private_header_of_another_module_is_found(self):
        self.plant("src/base/inner.hpp", "")
        self.finds("check-layers", "src/cli/planted.cpp", '#include "base/inner.hpp"\n', "private to base")

    def test_a_library_used_by_another_than_its_owner_is_found(self):
        self.finds("check-layers", "src/apply/planted.cpp", "#include <libpq-fe.h>\n", "belongs to pg")

    def test_a_library_without_an_owner_is_found(self):
        self.finds("check-layers", "src/apply/planted.cpp", "#include <boost/any.hpp>\n", "no module owns")

    def test_a_generated_header_past_its_contract_is_found(self):
        self.finds("check-layers", "src/apply/planted.cpp", '#include "walign/v1/state.pb.h"\n', "contract of state")

    def test_a_module_that_is_not_in_the_table_is_found(self):
        self.finds("check-layers", "src/util/planted.cpp", "\n", "not in the table")

    def test_a_contract_that_does_not_exist_is_found(self):
        self.finds("check-layers", "src/cli/planted.cpp", '#include "walign/nowhere.hpp"\n', "there is no")

    def test_a_judge_that_depends_on_the_judged_is_found(self):
        self.finds("check-layers", "test/support/sql.cpp", '#include "walign/base.hpp"\n', "independent")


class House(Planted):
    def plant_line(self, line):
        return "// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0\n" + line + "\n"

    def test_a_line_too_long_is_found(self):
        self.finds("check-house", "src/base/planted.cpp", self.plant_line("//" + "x" * 119), "121 columns")

    def test_a_file_too_long_is_found(self):
        self.finds("check-house", "src/base/planted.cpp", self.plant_line("\n" * 500), "split it")

    def test_a_tab_and_blanks_at_the_end_are_found(self):
        self.finds("check-house", "src/base/planted.cpp", self.plant_line("\tint x; "), "a tab")
        self.assertIn("blanks at the end", self.check("check-house")[1])

    def test_a_missing_licence_line_is_found(self):
        self.finds("check-house", "include/walign/planted.hpp", "#pragma once\n", "should be")

    def test_work_left_undone_is_found(self):
        self.finds("check-house", "test/planted.cpp", "// TO" "DO later\n", "left undone")

    def test_a_missing_newline_at_the_end_is_found(self):
        self.finds("check-house", "test/planted.cpp", "int x;", "no newline")


if __name__ == "__main__":
    unittest.main()
