"""Repositories to deploy. Each value is what GitHttp.repo() takes."""

import base64
import hashlib
import io
import zipfile
from pathlib import Path

AGENT = {file.name: file.read_text()
         for file in (Path(__file__).resolve().parents[2] / "examples" / "agent").glob("*") if file.is_file()}

FAILS = {"main.py": "import sys\nprint('about to fail', flush=True)\nsys.exit('no luck today')\n"}
ENDS = {"main.py": "print('done', flush=True)\n"}
NEVER_BUILDS = {**AGENT, "requirements.txt": "./no-such-wheel-1.0-py3-none-any.whl\n"}
SLOW_BUILD = {**AGENT, "requirements.txt": "./slow\n",
              "slow/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
              "slow/backend.py": "import time\n\n\ndef build_wheel(*_, **__):\n    time.sleep(600)\n"}

# Its only module comes with the project: an HTTP service that answers with the text of `greeting`.
GREETS = {"main.py": """import http.server
from greeting import TEXT


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TEXT.encode())


http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""}


def with_requirements():
    """GREETS, with `greeting` as a wheel in the repository that requirements.txt names."""
    name, content = wheel()
    return {**GREETS, "requirements.txt": f"./wheels/{name}\n", f"wheels/{name}": content}


def with_project():
    """GREETS, with `greeting` as the project of pyproject.toml, whose build needs no index."""
    name, content = wheel(text="hello from a project")
    backend = f"import pathlib\n\n\ndef build_wheel(directory, *_, **__):\n" \
              f"    pathlib.Path(directory, {name!r}).write_bytes({content!r})\n    return {name!r}\n"
    return {**GREETS, "backend.py": backend, "pyproject.toml": """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "greeting"
version = "1.0"
"""}


def wheel(name="greeting", text="hello from a wheel"):
    """(file name, bytes) of a wheel with one module `name` that has TEXT: a dependency that needs no index."""
    files = {f"{name}.py": f"TEXT = {text!r}\n",
             f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
             f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                                            "Tag: py3-none-any\n"}
    record = f"{name}-1.0.dist-info/RECORD"
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    files[record] = "\n".join([*lines, f"{record},,"]) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return f"{name}-1.0-py3-none-any.whl", buffer.getvalue()
