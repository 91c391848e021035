# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""The two sides of an example, for ./load and ./check: their addresses are in SOURCE and TARGET."""
import importlib.util
import os
import pathlib
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))

from bench_clients import Client, Failed  # noqa: E402, F401


def client_of(side):
    url = urllib.parse.urlsplit(os.environ[side.upper()])
    return Client(url.port, 60, url.path.lstrip("/"))


def code_of(folder="."):
    """application.py of the example."""
    path = pathlib.Path(folder, "application.py")
    spec = importlib.util.spec_from_file_location("application", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
