"""The program's side of a case: job files, runs, what they print and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

# No case needs nearly so long; a run that hangs must not hang the suite.
RUN_TIMEOUT_SECS = 240


def to_yaml(value, indent: int = 0) -> str:
    """Block YAML as a person writes it; scalars as JSON, which YAML reads as it is."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, inner in value.items():
            nested = isinstance(inner, (dict, list)) and inner
            lines.append(f"{pad}{key}:" + (f"\n{to_yaml(inner, indent + 1)}" if nested else f" {scalar(inner)}"))
        return "\n".join(lines)
    if isinstance(value, list) and value:
        lines = []
        for inner in value:
            if isinstance(inner, dict):
                text = to_yaml(inner, indent + 1)
                lines.append(f"{pad}- {text.lstrip()}")
            else:
                lines.append(f"{pad}- {scalar(inner)}")
        return "\n".join(lines)
    return pad + scalar(value)


PLAIN_WORDS = {"keep", "delete", "any", "allow", "refuse", "full"}


def scalar(value) -> str:
    return value if value in PLAIN_WORDS else json.dumps(value, ensure_ascii=False)


@dataclass
class Result:
    """What one process gave back."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def doc(self) -> dict:
        """The one JSON document on stdout: stdout carries results and nothing else."""
        return json.loads(self.out)

    def tell(self) -> str:
        """Short: of a summary only its numbers and words."""
        try:
            doc = self.doc
            doc = doc.get("plan", doc)
            said = ", ".join(f"{k}={v}" for k, v in doc.items() if isinstance(v, (int, str)))
        except (ValueError, AttributeError):
            said = self.out
        return f"exit {self.code}\n  stdout: {said[-700:]}\n  stderr: {self.err[-1500:]}"


@dataclass
class Job:
    """A job file with a state directory of its own."""

    binary: str
    folder: Path
    doc: dict
    env: dict[str, str]
    running: list[subprocess.Popen] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.doc["name"]

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def write(self, text: str | None = None) -> None:
        self.path.write_text(to_yaml(self.doc) + "\n" if text is None else text)

    def command(self, command: str, *options: str, yes: bool = True, state: bool = True) -> list[str]:
        line = [self.binary, command, str(self.path), "--output", "json", "--progress", "never"]
        line += ["--state-dir", str(self.state_dir)] if state else []
        line += ["--yes"] if yes and command in ("run", "apply") else []
        return [*line, *options]

    def start(self, command: str, *options: str, env: dict[str, str | None] | None = None, **how) -> Process:
        merged = {**self.env, **(env or {})}
        return Process(
            self.command(command, *options, **how),
            {k: v for k, v in merged.items() if v is not None},
            self.folder,
        )

    def call(self, command: str, *options: str, env: dict[str, str | None] | None = None, **how) -> Result:
        return self.start(command, *options, env=env, **how).wait()

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.state_dir.rglob(pattern), key=lambda path: path.stat().st_mtime_ns)

    def audits(self) -> list[list[dict]]:
        """The audit of every run of the job, oldest first."""
        return [read_audit(path) for path in self.files("*.audit.jsonl.zst")]


class Process:
    """A run that is watched while it works."""

    def __init__(self, line: list[str], env: dict[str, str], folder: Path) -> None:
        self.began = time.monotonic()
        stem = f"{time.monotonic_ns()}"
        self._out, self._err = folder / f"{stem}.out", folder / f"{stem}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(line, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    @property
    def ended(self) -> bool:
        return self.popen.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout_secs: float = RUN_TIMEOUT_SECS) -> Result:
        try:
            code = self.popen.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"still running after {timeout_secs} s:\n{self.result(-1).tell()}") from None
        return self.result(code)

    def result(self, code: int) -> Result:
        out = self._out.read_text(errors="replace")
        err = self._err.read_text(errors="replace")
        return Result(code, out, err, time.monotonic() - self.began)


def read_audit(path: Path) -> list[dict]:
    """By standard tools: zstd and JSON lines. A torn frame or line is an error."""
    if path.stat().st_size == 0:
        return []  # nothing to record, so no frame, which the zstd tool takes for a torn one
    text = subprocess.run(["zstd", "-dcq", str(path)], check=True, capture_output=True).stdout.decode()
    assert text == "" or text.endswith("\n"), f"{path.name} ends in the middle of a line"
    return [json.loads(line) for line in text.split("\n")[:-1]]


def base_env(home: Path) -> dict[str, str]:
    """What the program gets to see: the credentials of the suite and a home of its own."""
    keep = ("PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    return env | {"HOME": str(home), "XDG_STATE_HOME": str(home / "xdg"), "AWS_EC2_METADATA_DISABLED": "true"}
