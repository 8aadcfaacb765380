import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if not os.environ.get("MINIONS_ISOLATED"):
    pytest.exit("these tests start engines and servers: run them by tests/integration/run, which isolates them", 2)

from support.fixtures import (daemon, engine, git_http, git_ssh, make_daemon, make_null_daemon,  # noqa: E402, F401
                              private_git)
