"""SeaweedFS, a real S3 server, on the loopback interface: signatures, paging, multipart, whole buckets that vanish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from servers.ports import free_ports

PATIENCE = 60.0
"""Seconds to wait for the server."""

BUCKET = "national"

OWNER, USER = ("owner", "owner-secret"), ("maria", "hunter2-secret")
"""Key and secret of the one who makes buckets, and of the one who uses them."""


@dataclass(frozen=True)
class Seaweed:
    """A running server."""

    endpoint: str

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a user sets to reach it, by another endpoint where one is given."""
        key, secret = USER
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self, who: tuple[str, str] = OWNER) -> Any:
        """Client of botocore, by which tests look at the server past the code that they test."""
        key, secret = who
        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def keys(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Size of every object below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", ())}

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Copy a folder into a bucket."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())

    def download(self, bucket: str, prefix: str, folder: Path) -> Path:
        """Copy what is below a prefix into a folder."""
        client = self.client()
        for key in self.keys(bucket, prefix):
            path = folder / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        return folder

    def remove(self, bucket: str) -> None:
        """Remove a bucket with all that is in it, and what others write there meanwhile."""
        client = self.client()
        while True:
            for key in self.keys(bucket):
                client.delete_object(Bucket=bucket, Key=key)
            try:
                client.delete_bucket(Bucket=bucket)
            except ClientError:
                if not self.keys(bucket):
                    raise
            else:
                return


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run a server whose data lie in a folder, until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    identities = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, (key, secret), actions in (
            ("owner", OWNER, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("user", USER, ["Read", "Write", "List"]),
        )
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    master, volume, filer, s3 = free_ports(4)
    command = [
        Path(sys.executable).parent / "weed",
        f"-logdir={folder}",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=100",
        f"-volume.port={volume}",
        "-filer",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={folder / 's3.json'}",
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (
        (folder / "weed.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=kept, start_new_session=True) as process,
    ):
        try:
            server = Seaweed(f"http://127.0.0.1:{s3}")
            _await(server, process, folder / "weed.log")
            yield server
        finally:
            process.kill()


def _await(server: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until an object can be written."""
    until = time.monotonic() + PATIENCE
    client = server.client()
    while True:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"")
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"SeaweedFS did not start: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.1)
        else:
            return
