# ruff: noqa: INP001, S310, S603, S607, T201 -- a script that runs tools of this machine and says so on standard output
"""Starts a real HAPI FHIR server and says where: in Docker if its daemon answers, else with Java 17 and Maven.

    python docker/hapi/serve.py [--profile defaults|lax|assigned] [--port N] [--log FILE] [--tethered]

Prints `fhir ready at http://127.0.0.1:N/fhir (…)` once it answers, and serves until it is interrupted.
Exit status 69 means that this machine has neither way; the reason is on standard error.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
JAR = HERE / "target" / "fhir-server.jar"
IMAGE = "hapiproject/hapi:v8.8.0-1"
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
BOOT_SECONDS = 240.0

# The image's own names for what `fhirserver/Profile.java` sets.
SETTINGS = {
    "defaults": {
        "hapi.fhir.subscription.resthook_enabled": "true",
        "hapi.fhir.subscription.polling_interval_ms": "100",
        "hapi.fhir.max_page_size": "200",
    },
    "assigned": {
        "hapi.fhir.subscription.resthook_enabled": "true",
        "hapi.fhir.subscription.polling_interval_ms": "100",
        "hapi.fhir.max_page_size": "200",
        "hapi.fhir.client_id_strategy": "NOT_ALLOWED",
    },
    "lax": {
        "hapi.fhir.subscription.resthook_enabled": "true",
        "hapi.fhir.subscription.polling_interval_ms": "100",
        "hapi.fhir.max_page_size": "200",
        "hapi.fhir.client_id_strategy": "ANY",
        "hapi.fhir.server_id_strategy": "UUID",
        "hapi.fhir.enforce_referential_integrity_on_write": "false",
        "hapi.fhir.enforce_referential_integrity_on_delete": "false",
        "hapi.fhir.allow_external_references": "true",
        "hapi.fhir.binary_storage_enabled": "true",
        "hapi.fhir.store_meta_source_information": "SOURCE_URI_AND_REQUEST_ID",
    },
}


class Unavailable(Exception):
    """This machine cannot run a HAPI server; the text says what is missing."""


def docker_command(profile: str, port: int) -> list[str] | None:
    """The container's command, or None when no Docker daemon answers.

    It shares the host's network, so that its notifications reach a test's own loopback port.
    """
    if shutil.which("docker") is None:
        return None
    with suppress(subprocess.TimeoutExpired):
        info = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, timeout=5, check=False
        )
        if info.returncode == 0 and info.stdout.strip():
            settings = {"server.port": str(port), "server.address": "127.0.0.1", **SETTINGS[profile]}
            environment = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
            return ["docker", "run", "--rm", "--network", "host", *environment, IMAGE]
    return None


def java_command(profile: str, port: int) -> list[str]:
    """The Java command; the module is built first when its sources are newer than its jar.

    `HAPI_HEAP` sets its heap, two gigabytes unless told.

    Raises:
        Unavailable: Java 17 or Maven is missing, or the build failed.
    """
    if java_version() < 17:  # noqa: PLR2004 -- HAPI's own lower bound
        raise Unavailable("no Docker daemon answers, and there is no Java 17 or newer")
    build()
    heap = os.environ.get("HAPI_HEAP", "2g")
    flags = [
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
    ]  # a third off the boot on two cores
    properties = {"fhir.profile": profile, "fhir.port": str(port), "fhir.tethered": "true"}
    return ["java", *flags, *(f"-D{name}={value}" for name, value in properties.items()), "-jar", str(JAR)]


def java_version() -> int:
    """The major version of the `java` on the path; 0 without one."""
    if shutil.which("java") is None:
        return 0
    said = subprocess.run(
        ["java", "-version"], capture_output=True, text=True, timeout=30, check=False
    ).stderr
    major = said.partition('version "')[2].partition(".")[0].rstrip('"')
    return int(major) if major.isdigit() else 0


def build() -> None:
    """Builds the module unless its jar is newer than its sources; one process at a time."""
    JAR.parent.mkdir(exist_ok=True)
    with (JAR.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = [HERE / "pom.xml", *(path for path in (HERE / "src").rglob("*") if path.is_file())]
        if JAR.exists() and JAR.stat().st_mtime >= max(path.stat().st_mtime for path in sources):
            return
        if shutil.which("mvn") is None:
            raise Unavailable("no Docker daemon answers, and there is no Maven to build docker/hapi")
        made = subprocess.run(
            ["mvn", "-B", "-q", "package"], cwd=HERE, capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise Unavailable(f"Maven could not build docker/hapi: {made.stdout.strip()[-2000:]}")


@contextmanager
def running(command: list[str], log: IO[bytes] | None) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process while the block runs; ended by its own pid."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log or sys.stderr, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Returns once the server answers.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    end = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"HAPI ended while starting, status {process.returncode}; its log says why")
        with suppress(OSError), urllib.request.urlopen(f"{url}/metadata", timeout=30) as answer:
            if answer.status == 200:  # noqa: PLR2004 -- an HTTP status
                return
        time.sleep(0.2)
    raise RuntimeError(f"HAPI did not answer at {url} within {BOOT_SECONDS:.0f} s; its log says why")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now.

    HAPI listens seconds later: it is below the ports that connections get by themselves meanwhile, and that tests give out.
    """
    while True:
        port = 10_000 + secrets.randbelow(2_000)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def end_with_input() -> None:
    """Ends this process, and so the server, when whoever holds its standard input is gone."""
    while os.read(0, 4096):  # unbuffered: a thread inside sys.stdin's lock aborts the interpreter's end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def serve(options: argparse.Namespace) -> int:
    """Serves until interrupted; the exit status."""
    port = options.port or free_port()
    url = f"http://127.0.0.1:{port}/fhir"
    started = time.monotonic()
    in_docker = docker_command(options.profile, port)
    command = in_docker or java_command(options.profile, port)
    with options.log.open("wb") if options.log else nullcontext() as log, running(command, log) as process:
        wait_until_ready(process, url)
        way = IMAGE if in_docker else "docker/hapi"
        print(
            f"fhir ready at {url} ({way}, {options.profile}, {time.monotonic() - started:.1f} s)", flush=True
        )
        return process.wait()


def main() -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description="Starts a real HAPI FHIR server.")
    parser.add_argument("--profile", choices=sorted(SETTINGS), default="defaults")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--log", type=Path, help="where the server's log goes; standard error without it")
    parser.add_argument("--tethered", action="store_true", help="end when standard input does")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.tethered:
        threading.Thread(target=end_with_input, daemon=True).start()
    try:
        return serve(options)
    except Unavailable as missing:
        print(missing, file=sys.stderr)
        return UNAVAILABLE
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
