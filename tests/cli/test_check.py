"""``mailframe check``."""

from __future__ import annotations

import os

from mailframe.cli import check as check_module
from mailframe.plugin import PluginError
from tests.cli.commands import CommandCase


class Check(CommandCase):
    """Levels, exit status and words."""

    def test_text(self) -> None:
        """A person would have to read JSON."""
        text = self.run_here("check").stdout
        self.assertIn("ok\tconfiguration\t", text)

    def test_error(self) -> None:
        """A script could not tell that the server won't start."""
        os.unlink(self.path("accounts.toml"))
        document = self.document("check", status=1)
        (finding,) = [each for each in document["findings"] if each["level"] == "error"]
        self.assertIn("account add", finding["mend"])
        self.assertEqual(document["errors"], 1)

    def test_warning(self) -> None:
        """A warning would keep a script from starting the server."""
        os.chmod(self.path("accounts.toml"), 0o644)
        self.assertEqual(self.document("check")["warnings"], 1)

    def test_broken_file(self) -> None:
        """A broken file would look like a finding among others."""
        self.configure("[queue]", "[queueue]")
        result = self.run_here("check", "--json", status=2)
        self.assertEqual(result.stdout, "")
        self.assertIn("queueue", result.stderr)

    def test_plugin_that_does_not_load(self) -> None:
        """A plugin that can't be imported would only be found out at the start."""

        def load_builder(part: object) -> None:
            raise PluginError("can't be loaded: ImportError")

        self.patch(check_module, "load_builder", load_builder)
        self.assertEqual(self.document("check", status=1)["errors"], 5)
