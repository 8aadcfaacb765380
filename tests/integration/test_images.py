"""VM images over HTTP and the command line: built, imported, listed, deleted; and what a daemon that dies leaves."""

import io
import json
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.daemon import BINARY
from support.images import add_minimal_image
from support.wait import until

IMAGES = "/api/images"


@pytest.fixture
def host(make_null_daemon):
    return make_null_daemon({"images.default": "minimal"})


def image_directories(daemon):
    return sorted(path.name for path in (daemon.state / "images").iterdir())


def system_tar(**files):
    """An archive of a small root file system, its root entry first as tar makes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"./etc/{name}")
            entry.size, entry.uid, entry.gid, entry.mode = len(text), 1234, 5678, 0o640
            archive.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("./bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin"
        archive.addfile(link)
        device = tarfile.TarInfo("./dev/sda")
        device.type, device.devmajor, device.devminor = tarfile.BLKTYPE, 8, 0
        archive.addfile(device)
    return stream.getvalue()


def debugfs(disk, request):
    return subprocess.run(["debugfs", "-R", request, disk], capture_output=True, text=True, check=True).stdout


def test_the_minimal_image_is_built_from_packages(host):
    started = host.post(f"{IMAGES}/build", {"name": "minimal", "recipe": "minimal"},
                        headers={"Prefer": "respond-async"})
    assert started.status == 202, started
    seen = set()

    def ended():
        operation = host.get(f"/api/operations/{started.json['id']}").json
        if operation["progress"]["total"]:
            seen.add((operation["progress"]["done"], operation["progress"]["total"]))
        return operation["status"] != "running" and operation

    operation = until(ended, "the build ends", 120)
    assert operation["status"] == "succeeded", operation
    assert {total for _, total in seen} == {5} and len(seen) >= 2, seen

    image = host.get(f"{IMAGES}/minimal").json
    assert image["recipe"] == "minimal" and image["used_by"] == [] and image["id"].startswith("sha256:")
    manifest = image["manifest"]
    packages = {package["name"] for package in manifest["packages"]}
    assert "busybox-static" in packages and any(name.startswith("linux-image-6") for name in packages)
    assert manifest["command_line"].startswith("root=/dev/vda ")
    directory = host.state / "images" / image["id"].removeprefix("sha256:")
    for name, digest in manifest["files"].items():
        said = subprocess.run(["sha256sum", directory / name], capture_output=True, text=True, check=True).stdout
        assert said.split()[0] == digest, name
        assert (directory / name).stat().st_mode & 0o7777 == 0o640
    subprocess.run(["e2fsck", "-fn", directory / "disk.raw"], capture_output=True, check=True)
    assert "Type: symlink" in debugfs(directory / "disk.raw", "stat /usr/bin/ls")

    listed = host.get(IMAGES).json
    assert [{key: each[key] for key in ("name", "id", "recipe")} for each in listed] == [
        {"name": "minimal", "id": image["id"], "recipe": "minimal"}]
    assert listed[0]["size_bytes"] > 5 << 20
    assert host.post(f"{IMAGES}/build", {"name": "minimal", "recipe": "minimal"}).status == 409


def test_an_archive_is_imported_with_owners_and_without_devices(host):
    add_minimal_image(host)
    made = host.post(f"{IMAGES}?name=box", system_tar(greeting="hello\n"),
                     headers={"Content-Type": "application/x-tar"})
    assert made.status == 201, made
    directory = host.state / "images" / made.json["id"].removeprefix("sha256:")
    assert debugfs(directory / "disk.raw", "cat /etc/greeting") == "hello\n"
    stat = debugfs(directory / "disk.raw", "stat /etc/greeting")
    assert "User:  1234" in stat and "Group:  5678" in stat and "Mode:  0640" in stat
    assert "/usr/bin" in debugfs(directory / "disk.raw", "stat /bin")
    assert "sda" not in debugfs(directory / "disk.raw", "ls /dev")
    assert not any(path.name.startswith(".new-") for path in (host.state / "images").iterdir())


@pytest.mark.parametrize("target, body, status, words", [
    ("?name=box", b"", 400, "the body is empty"),
    ("?name=box", b"a few words", 400, "it cannot be told what the body is"),
    ("?name=box&format=qcow2", system_tar(a="b"), 400, "the body is no qcow2, but tar"),
    ("?name=box", system_tar(a="b")[:700], 400, "the archive is truncated"),
    ("?name=box&kernel_from=other", b"x", 400, "field 'kernel_from': image 'other' not found"),
    ("?name=Box", b"x", 400, "field 'name' is no name"),
    ("?name=minimal", b"x", 409, "image 'minimal' already exists"),
    ("?name=box&size=4", b"x", 400, "size"),
])
def test_an_import_that_is_refused_says_why_and_leaves_nothing(host, target, body, status, words):
    add_minimal_image(host)
    before = image_directories(host)
    reply = host.post(IMAGES + target, body, headers={"Content-Type": "application/octet-stream"})
    assert reply.status == status and words in reply.json["error"], reply
    assert image_directories(host) == before


def test_a_body_that_breaks_off_leaves_nothing(host):
    add_minimal_image(host)
    before = image_directories(host)
    address, port = host.address.rsplit(":", 1)
    with socket.create_connection((address, int(port))) as connection:
        connection.sendall(b"POST /api/images?name=box HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
                           b"Content-Type: application/octet-stream\r\n\r\n" + b"x" * 100000)
        until(lambda: len(image_directories(host)) > len(before), "the upload begins")
    until(lambda: image_directories(host) == before, "the upload is gone")


def test_what_a_killed_daemon_left_half_made_goes_at_the_next_start(host):
    recipe = host.directory / "recipes" / "endless.sh"
    recipe.write_text('#!/bin/sh\necho x >"$2/disk.raw"\nexec sleep 1000\n')
    recipe.chmod(0o755)
    host.post(f"{IMAGES}/build", {"name": "box", "recipe": "endless"}, headers={"Prefer": "respond-async"})
    until(lambda: list((host.state / "images").glob(".new-*/disk.raw")), "the recipe works")
    assert host.helpers()
    host.kill()
    until(lambda: not host.helpers(), "what the recipe started is gone")
    host.start()
    assert image_directories(host) == []
    assert host.get(IMAGES).json == []


def test_the_command_line_builds_imports_lists_and_deletes(host, tmp_path):
    built = host.cli("image", "build", "minimal", "--recipe", "prebuilt")
    assert built.returncode == 0 and built.stdout.startswith("image 'minimal' is sha256:"), built.stderr
    archive = tmp_path / "box.tar"
    archive.write_bytes(system_tar(greeting="hello\n"))
    assert host.cli("image", "import", "box", archive).returncode == 0
    failed = host.cli("image", "import", "other", Path("/dev/null"))
    assert failed.returncode == 1 and "the body is empty" in failed.stderr

    listed = host.cli("image", "list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "ID", "RECIPE", "SIZE", "CREATED", "USED", "BY"]
    assert [line.split()[0] for line in listed[1:]] == ["box", "minimal"]
    assert len(json.loads(host.cli("--json", "image", "list").stdout)) == 2

    deleted = host.cli("image", "delete", "box", "minimal")
    assert deleted.returncode == 0 and deleted.stdout == "image 'box' deleted\nimage 'minimal' deleted\n"
    assert host.cli("image", "list").stdout == "No images found.\n"
    assert image_directories(host) == []
    gone = host.cli("image", "delete", "box")
    assert gone.returncode == 1 and "image 'box' not found" in gone.stderr


def test_images_are_handled_without_a_daemon(host):
    """The command brings its own, which has the state directory for as long as it takes."""
    state = ["--state-dir", host.state]
    refused = host.cli("image", "list", *state)
    assert refused.returncode == 1 and "no daemon can work on that state directory: " in refused.stderr
    assert "another daemon" in refused.stderr, refused.stderr
    host.stop()
    archive = host.directory / "box.tar"
    archive.write_bytes(system_tar(greeting="hello\n"))

    def run(*arguments):
        return subprocess.run([BINARY, "image", *arguments, *state], capture_output=True, text=True, check=False)

    assert run("list").stdout == "No images found.\n"
    failed = run("build", "minimal", "--recipe", "nonsense")
    assert failed.returncode == 1 and "no recipe 'nonsense'" in failed.stderr
    assert run("build", "x", "--detach").returncode == 2
    host.start()
    add_minimal_image(host)
    host.stop()
    imported = run("import", "box", archive, "--kernel-from", "minimal")
    assert imported.returncode == 0, imported.stderr
    assert [line.split()[0] for line in run("list").stdout.splitlines()[1:]] == ["box", "minimal"]
    host.start()
    assert [image["name"] for image in host.get(IMAGES).json] == ["box", "minimal"]
