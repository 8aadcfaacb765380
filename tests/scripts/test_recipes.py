"""What recipes/lib.sh makes of its options; with scripts and keys of its own in the place of debootstrap's."""

import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[2] / "recipes" / "lib.sh"


@pytest.fixture(name="recipe")
def _recipe(tmp_path):
    """recipe(commands, option…) -> what the commands print after the options were parsed."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, target in {"sid": None, "bookworm": "sid", "gutsy": None, "jammy": "gutsy"}.items():
        (scripts / name).symlink_to(target) if target else (scripts / name).touch()
    (tmp_path / "keys").touch()
    agent = tmp_path / "agent"
    agent.write_text("#!/bin/sh\necho 1\n")
    agent.chmod(0o755)

    def run(commands, *options, keys="keys"):
        script = (f'source "{LIB}"; recipe_steps=1; debootstrap_scripts="{scripts}"; ubuntu_keyring="{tmp_path / keys}"\n'
                  f'parse_options --output "{tmp_path}/out" --agent "{agent}" "$@"\nmkdir "$work/apt"\n{commands}')
        done = subprocess.run(["bash", "-c", script, "recipe", *options], capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).replace(str(tmp_path), "T").strip()

    return run


def test_debian_has_its_kernel_for_clouds_and_needs_no_more_than_main(recipe):
    assert recipe("echo $kernel_package; apt_sources", "--mirror", "http://deb/debian") == (
        "linux-image-cloud-amd64\ndeb http://deb/debian bookworm main")
    assert recipe('debootstrap_arguments /root a,b; echo "${arguments[@]}"', "--mirror", "http://deb/debian") == (
        "--variant=minbase --force-check-gpg --include=a,b bookworm /root http://deb/debian")


@pytest.mark.parametrize("suite, mirror, script", [
    ("jammy", "http://mirror/u", ""),
    ("jammy", "http://mirror/ubuntu", ""),
    ("noble", "http://mirror/u", " gutsy"),  # younger than debootstrap
    ("zany", "http://mirror/ubuntu", " gutsy"),
])
def test_ubuntu_has_its_own_kernel_keys_and_components(recipe, suite, mirror, script):
    assert recipe("echo $kernel_package; apt_sources", "--suite", suite, "--mirror", mirror) == (
        f"linux-image-virtual\ndeb [signed-by=T/keys] {mirror} {suite} main universe")
    assert recipe('debootstrap_arguments /root a; echo "${arguments[@]}"', "--suite", suite, "--mirror", mirror) == (
        f"--variant=minbase --force-check-gpg --include=a --keyring=T/keys --components=main,universe {suite} /root "
        f"{mirror}{script}")


def test_an_archive_whose_keys_are_missing_is_not_used(recipe):
    said = recipe("echo went on", "--suite", "jammy", "--mirror", "http://mirror/ubuntu", keys="no-keys")
    assert said.startswith("error: the keys of Ubuntu's archive are missing: put T/no-keys there")


def test_the_archive_of_this_machine_serves_where_no_mirror_is_given(recipe):
    lines = "deb [signed-by=/k] http://deb/security bookworm-security main\ndeb [signed-by=/k] http://deb/debian bookworm main"
    assert recipe(f'printf "{lines}\n" >"$work/apt/sources.list"; debootstrap_arguments /root a; echo "${{arguments[@]}}"') == (
        "--variant=minbase --force-check-gpg --include=a bookworm /root http://deb/debian")
    assert recipe('printf "deb http://deb/debian next main\n" >"$work/apt/sources.list"; debootstrap_arguments /root a; '
                  'echo "${arguments[@]}"', "--suite", "next").endswith(" next /root http://deb/debian sid")
