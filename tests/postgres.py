"""A PostgreSQL server for tests: the one named in the environment, or a temporary cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

VARIABLE = "TEST_POSTGRES_URL"
"""Names a server, as `postgresql://user:password@host:port/database`, whose user may create databases."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "''",
    "fsync": "off",
    "shared_buffers": "1MB",  # A table of a few hundred blocks is large then, and its scans may start anywhere.
}
_ZONE = "Pacific/Chatham"
"""An unusual time zone, to expose values that depend on the server's."""


class MissingServerError(Exception):
    """No PostgreSQL server is configured or installed."""


class Database:
    """A database for tests."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def sqlalchemy_url(self) -> str:
        """The URL in the format of target-postgres."""
        return self.url.replace("postgresql://", "postgresql+psycopg://", 1)

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return the rows of a query, with timestamps in UTC."""
        with psycopg.connect(self.url, options="-c timezone=UTC", row_factory=dict_row) as connection:
            return connection.execute(text.encode()).fetchall()


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of the server in the environment, or of a temporary one.

    Raises:
        MissingServerError: The environment names none, and PostgreSQL is not installed.
    """
    if url := os.environ.get(VARIABLE):
        yield url
        return
    programs = _programs()
    folder = Path(mkdtemp(prefix="postgres-"))
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root.
    try:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        _run(folder, user, programs / "initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")
        port = _free_port()
        options = " ".join(f"-c {name}={value}" for name, value in {**_SETTINGS, "port": port}.items())
        _run(folder, user, programs / "pg_ctl", "start", "--wait", f"--options={options}", f"--log={folder / 'log'}")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            _run(folder, user, programs / "pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


@contextmanager
def database(server_url: str) -> Iterator[Database]:
    """Create an empty database, and drop it at the end."""
    name = f"tap_wootric_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("ALTER DATABASE {} SET timezone TO {}").format(sql.Identifier(name), _ZONE))
        yield Database(f"{server_url.rpartition('/')[0]}/{name}")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _programs() -> Path:
    """Return the folder with the server's programs, which Debian does not put on the PATH."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found and not debian:
        raise MissingServerError(f"install PostgreSQL's server, or name one in {VARIABLE}")
    return (debian[-1] if debian else Path(str(found))).parent


def _run(folder: Path, user: str | None, program: Path, *arguments: str) -> None:
    # The output goes to a file, because the server keeps it open.
    with (folder / "output").open("ab") as output:
        done = subprocess.run(
            [program, *arguments, f"--pgdata={folder / 'data'}"],
            check=False,
            cwd=folder,
            stdout=output,
            stderr=output,
            user=user,
        )
    if done.returncode:
        raise RuntimeError((folder / "output").read_text())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
