#!/usr/bin/env python
"""What is left of a run that is killed, or suspended while another takes over, at many random moments of its life.

Run as ``python benchmarks/kills.py``; ``--help`` lists the options. A run that nothing disturbs says which objects come
in which order. A moment is the appearance of one of them, drawn so that every stage, publishing, releasing and sealing
among them, is as likely as every other, and up to `JITTER` seconds more.

``kill``: the run and its workers are killed with SIGKILL at the moment and started again; after some moments it runs to
its end. ``suspend``: they are suspended, a run of another configuration takes over, they go on at a random moment of
that run, or after it, and must end with status 75. In both cases the products must be, byte for byte but for the hours
of their creation, those of an undisturbed run of the configuration that ended last; where the suspended run had
released its maps, those of both runs, one after the other. The script ends with 1 if they are not.

Columns of the CSV: ``store``, ``accident``, ``seed``, ``life``, ``moments`` (struck while the run was alive),
``objects`` (compared) and ``differ`` (of them).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from commands import CREATED
from servers.seaweed import BUCKET, seaweed
from soilscale import storage, synthetic

COLUMNS = ("store", "accident", "seed", "life", "moments", "objects", "differ")

JITTER = 0.3
"""Seconds that may pass between the appearance of an object and the accident."""

OWN = ("state/", "run.yaml", "report/index.html")
"""What tells of a run itself: its durations, its folder, its date."""

EXPIRY = 5.0
"""Seconds without renewal after which a lease is void, here."""

COMMAND = """
import sys
from soilscale import cli
from soilscale.engine import lease
lease.RENEWED, lease.LOOK, lease.EXPIRY = 0.5, 0.2, float(sys.argv.pop(1))
cli.main()
"""

SUSPENDED, GOES_ON = 75, 600.0
"""Status of a run that was taken over, and seconds in which any run here ends."""


def world(folder: Path) -> Path:
    """Small world; returns its configuration."""
    path = synthetic.write(folder, cells=3, years=(2004, 2004))
    content = yaml.safe_load(path.read_text())
    content["sources"] = {name: content["sources"][name] for name in ("soil_moisture", "ndvi", "elevation")}
    content["seasons"] = {"warm": [4, 5, 6, 7, 8, 9], "cold": [10, 11, 12, 1, 2, 3]}
    parameters = {"random_forest": {"n_estimators": 5}}
    content["models"] = {"algorithms": ["random_forest"], "parameters": parameters, "folds": 2, "ablation": False}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


OTHER = ("-o", "sources.elevation.scale=2", "-o", "models.seed=7")
"""Options of another configuration, whose products are all others."""


class Place:
    """An output, and the runs on it."""

    def __init__(self, config: Path, output: str, log: Path) -> None:
        self.config, self.output, self.log = config, output, log

    @contextmanager
    def run(self, *options: str, expiry: float = EXPIRY) -> Iterator[subprocess.Popen[bytes]]:
        """Run in a process group of its own, which is killed at the end."""
        how = ("run", str(self.config), "--output", self.output, "--workers", "1", *options)
        command = [sys.executable, "-c", COMMAND, str(expiry), *how]
        with (
            self.log.open("ab") as log,
            subprocess.Popen(command, stdout=log, stderr=log, process_group=0) as process,  # noqa: S603 - our own
        ):
            try:
                yield process
            finally:
                strike(process, signal.SIGKILL)

    def complete(self, *options: str) -> None:
        """Run to the end."""
        with self.run(*options) as process:
            if process.wait(GOES_ON):
                raise SystemExit(f"the run ended with {process.returncode}:\n{self.log.read_text()[-3000:]}")

    def products(self) -> dict[str, str]:
        """Digest of every object that does not tell of the run itself, whatever the hour it was created."""
        names = [name for name in storage.names_below(self.output) if not name.startswith(OWN)]
        contents = storage.read_many(self.output, names)
        return {name: hashlib.sha256(CREATED.sub(b"", data)).hexdigest() for name, data in contents.items()}

    def order(self) -> list[str]:
        """Names of all objects in the order in which they were written, on a folder."""
        paths = [path for path in Path(self.output).rglob("*") if path.is_file()]
        paths.sort(key=lambda path: path.stat().st_mtime_ns)
        return [str(path.relative_to(self.output)) for path in paths]

    def term(self) -> int:
        """Number of the last term of the lease; 0 if there is none."""
        names = storage.names_below(storage.join(self.output, "state", "lease"))
        return max((int(name.removesuffix(".json")) for name in names if name.endswith(".json")), default=0)

    def follow(self, term: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until a run has taken the output over, or has ended."""
        while process.poll() is None and self.term() <= term:
            time.sleep(0.02)

    def reach(self, name: str, process: subprocess.Popen[bytes], pause: float) -> bool:
        """Wait until an object is there, and some time more; False if the run ended before."""
        url = storage.join(self.output, name)
        while process.poll() is None and not storage.exists(url):
            time.sleep(0.02)
        time.sleep(pause)
        return process.poll() is None


def strike(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a run and its workers."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def moments(order: Sequence[str], chance: random.Random, count: int) -> list[str]:
    """Objects whose appearance is a moment, each stage being as likely as another, in their order."""
    stages: dict[str, list[str]] = defaultdict(list)
    for name in order:
        if "/lease/" not in name:
            stages["/".join(name.split("/")[: 2 if name.startswith(("state/", "maps/")) else 1])].append(name)
    drawn = [chance.choice(stages[chance.choice(sorted(stages))]) for _ in range(count)]
    return sorted(drawn, key=order.index)


def kills(place: Place, order: Sequence[str], chance: random.Random, count: int) -> int:
    """Kill a run at some moments of its life, then let it end; how often it was alive."""
    struck = 0
    for name in moments(order, chance, count):
        with place.run() as process:
            struck += place.reach(name, process, chance.uniform(0, JITTER))
    place.complete()
    return struck


def suspends(place: Place, order: Sequence[str], chance: random.Random, _count: int) -> int:
    """Suspend a run that takes its lease for valid, have another take over, and let the first go on in the midst."""
    (first, second) = (moments(order, chance, 1)[0] for _ in range(2))
    with place.run(*OTHER, expiry=3600.0) as thawed:
        struck = place.reach(first, thawed, chance.uniform(0, JITTER))
        strike(thawed, signal.SIGSTOP)
        term = place.term()
        with place.run() as process:
            place.follow(term, process)
            if chance.random() < 0.5:  # noqa: PLR2004 - half of them
                place.reach(second, process, chance.uniform(0, JITTER))
                strike(thawed, signal.SIGCONT)
            if process.wait(GOES_ON):
                raise SystemExit(f"the second run ended with {process.returncode}:\n{place.log.read_text()[-3000:]}")
        strike(thawed, signal.SIGCONT)
        status = thawed.wait(GOES_ON)
    if struck and status != SUSPENDED:
        raise SystemExit(f"the suspended run ended with {status}:\n{place.log.read_text()[-3000:]}")
    return int(struck)


def differing(products: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Names of objects that are not, byte for byte, what is expected."""
    return sorted(name for name in {*products, *expected} if products.get(name) != expected.get(name))


ACCIDENTS: Mapping[str, Callable[[Place, Sequence[str], random.Random, int], int]] = {
    "kill": kills,
    "suspend": suspends,
}


def main() -> None:
    """Have accidents, print what came of them, and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=("folder", "s3"), default="folder")
    parser.add_argument("--accident", choices=ACCIDENTS, default="kill")
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--per-life", type=int, default=5, help="kills before a run ends and is compared")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--csv", default="kills.csv")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        reference = Place(world(root / "world"), str(root / "reference"), root / "log")
        reference.complete()
        order, histories = reference.order(), [reference.products()]
        if options.accident == "suspend":
            in_turn = Place(reference.config, str(root / "in-turn"), root / "log")
            in_turn.complete(*OTHER)
            in_turn.complete()
            histories.append(in_turn.products())
        with seaweed(root / "weed") if options.store == "s3" else nullcontext() as server:
            base = str(root)
            if server is not None:
                server.client().create_bucket(Bucket=BUCKET)
                os.environ.update(server.environment())
                base = f"s3://{BUCKET}"
            left, life = options.moments, 0
            while left > 0:
                count = min(left, options.per_life) if options.accident == "kill" else 1
                place = Place(reference.config, f"{base}/life-{life}", root / f"log-{life}")
                seed = options.seed + life
                struck = ACCIDENTS[options.accident](place, order, random.Random(seed), count)  # noqa: S311
                life += 1
                if options.accident == "suspend" and not struck:  # the first run had ended: both products stand
                    continue
                products = place.products()
                differ = min((differing(products, history) for history in histories), key=len)
                rows.append(
                    dict(
                        zip(
                            COLUMNS,
                            (options.store, options.accident, seed, life - 1, struck, len(products), len(differ)),
                            strict=True,
                        )
                    )
                )
                sys.stdout.write(f"{rows[-1]} {differ[:5]}\n")
                sys.stdout.flush()
                left -= count
    with Path(options.csv).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    struck, differ = (sum(row[name] for row in rows) for name in ("moments", "differ"))
    sys.stdout.write(f"{options.store}: {struck} of {options.moments} moments struck, {differ} objects differ\n")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
