"""scripts/packages.sh: what it would install, and that docs/dependencies.md says why."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commands(script):
    """Runs a script that has sourced packages.sh; what it prints, and every command it would run as root."""
    done = subprocess.run(["bash", "-euc", f'source scripts/packages.sh; as_root() {{ echo "root: $*"; }}; {script}'],
                          cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout


def test_missing_packages_are_installed_and_nothing_is_removed_for_them():
    output = commands("install_packages no-such-package bash")
    (install,) = re.findall(r"^root: .*apt-get install .*", output, re.MULTILINE)
    assert install.endswith(" no-such-package") and " --no-remove " in install
    assert commands("install_packages bash") == ""


def test_an_engine_of_any_origin_is_enough():
    assert commands("dockerd() { :; }; packages_engine=(no-such-package); install_engine") == ""
    assert "docker.io" not in commands('echo "${packages_build[*]} ${packages_runtime[*]} ${packages_test[*]}"')


def test_every_package_is_documented_and_no_other():
    listed = {word for line in commands("bash scripts/packages.sh").splitlines() for word in line.split()[1:]}
    documented = set()
    for cell in re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text(encoding="utf-8"), re.MULTILINE):
        documented.update(cell.split(", or any ")[0].split(", "))
    assert documented - {"package", "---"} == listed
