"""VM images for tests. There is no archive of packages in reach: what scripts/make-test-image.sh has made out there is
at MINIONS_TEST_IMAGE, and daemons under test have recipes that use it. Long runs have a Debian too, at
MINIONS_TEST_DEBIAN_IMAGE."""

import os
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def _script(path, text):
    path.write_text(f"#!/bin/bash\nset -euo pipefail\n{text}")
    path.chmod(0o755)


def write_recipes(directory):
    """Makes `directory` with the recipes `minimal`, which builds the image from the kept packages, and `prebuilt`, which
    copies the one that was made of them: the same image in a moment."""
    made = Path(os.environ["MINIONS_TEST_IMAGE"])
    directory.mkdir()
    _script(directory / "minimal.sh", f'exec "{RECIPES}/minimal.sh" "$@" --package-dir "{made}/packages"\n')
    copy = 'echo "progress 0 1 copying"\ncp --sparse=always "{}"/image/* "$2/"\n'
    _script(directory / "prebuilt.sh", copy.format(made))
    if "MINIONS_TEST_DEBIAN_IMAGE" in os.environ:
        _script(directory / "prebuilt-debian.sh", copy.format(os.environ["MINIONS_TEST_DEBIAN_IMAGE"]))


def add_minimal_image(daemon, name="minimal", recipe="prebuilt"):
    """The name of an image with kernel, busybox and agent in this daemon (or of another recipe); made on first use."""
    if daemon.get(f"/api/images/{name}").status == 404:
        made = daemon.post("/api/images/build", {"name": name, "recipe": recipe})
        assert made.status == 201, made.body
    return name
