"""Containers of a pod: their variables, files and user, and the processes in them.

The image is the checkout with its environment, at the image's paths; the root may not be written.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from charts import Document
from checkout import ROOT
from servers.networks import DIES

if TYPE_CHECKING:
    from servers.kubelet import Pod

COMPILED = "/var/cache/numba"
"""Where pods have what Numba compiled; all the same folder, else each would take half a minute for it."""
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TMP = "/tmp"  # noqa: S108 - where a container starts
SYSTEM = ("passwd", "group", "ssl", "ld.so.cache", "nsswitch.conf", "localtime", "mime.types", "fonts", "ImageMagick-6")
"""What of /etc the image has."""
GONE = (IndexError, ProcessLookupError, psutil.NoSuchProcess)
"""What is raised where a process has ended by itself."""


@dataclass(frozen=True)
class Image:
    """What starts in a container that names no command, and with which variables."""

    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]


class Running:
    """A container that runs."""

    def __init__(self, pod: Pod, container: Document) -> None:
        self.pod, self.container, self.killed = pod, container, False
        name = container["image"].partition("@")[0].rpartition(":")[0].rpartition("/")[2]
        image = pod.kubelet.images[name]
        self.environment = _environment(pod, container, image)
        words = container.get("command", image.entrypoint), container.get("args", ())
        command = [expanded(word, self.environment) for part in words for word in part]
        self.script = pod.folder / f"{container['name']}.sh"
        self.script.write_text(_script(pod, container, command), encoding="utf-8")
        held = (*DIES, "unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--propagation", "private")
        with (pod.folder / f"{container['name']}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*held, "/bin/bash", "-eu", str(self.script)],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def first(self) -> int:
        """Process of the container that gets its signals."""
        return psutil.Process(self.process.pid).children()[0].pid

    def ready(self) -> bool:
        """Whether the container answers as its probe wants; this thread is in the pod's network."""
        probe = self.container.get("readinessProbe", {}).get("httpGet")
        if probe is None:
            return True
        ports = {one["name"]: one["containerPort"] for one in self.container["ports"]}
        url = f"http://127.0.0.1:{ports.get(probe['port'], probe['port'])}{probe['path']}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def end(self, grace: float) -> None:
        """preStop, SIGTERM, and SIGKILL when the grace is over."""
        until = time.monotonic() + grace
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        try:
            if hook:
                inside = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--root", "--wd={TMP}"]
                command = [*inside, *_as_user(self.pod.spec, self.container), *hook]
                with self.script.with_name("prestop.log").open("ab") as log:
                    subprocess.run(command, env=self.environment, stdout=log, stderr=log, timeout=grace, check=False)
            os.kill(self.first, signal.SIGTERM)
            self.process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self.kill()
        except GONE:  # it has ended by itself
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL to all processes of the container, of which `unshare` gives no status."""
        self.killed = True
        with suppress(*GONE):
            os.kill(self.first, signal.SIGKILL)
        self.process.wait()


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Text with the variables in it, `$(NAME)`."""
    return re.sub(r"\$\(([A-Za-z_]\w*)\)", lambda match: variables.get(match[1], match[0]), text)


def _environment(pod: Pod, container: Document, image: Image) -> dict[str, str]:
    """Variables of a container."""
    made = dict(image.environment) | {"HOSTNAME": pod.name}
    if pod.spec.get("automountServiceAccountToken", True):
        made |= {"KUBERNETES_SERVICE_HOST": pod.kubelet.network.address, "KUBERNETES_SERVICE_PORT": "443"}
    for source in container.get("envFrom") or ():
        ((kind, reference),) = source.items()
        made |= _content(pod, kind.removesuffix("Ref"), reference["name"])
    for entry in container.get("env") or ():
        if "valueFrom" in entry:
            made[entry["name"]] = _value(pod, entry["valueFrom"])
        else:
            made[entry["name"]] = expanded(entry.get("value", ""), made)
    return made


def _value(pod: Pod, source: Document) -> str:
    """Value of a variable that comes from the pod, a ConfigMap or a Secret."""
    ((kind, reference),) = source.items()
    if kind != "fieldRef":
        return _content(pod, kind.removesuffix("KeyRef"), reference["name"])[reference["key"]]
    path = reference["fieldPath"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(pod.document["metadata"][match[1]][match[2]])
    node: Any = pod._seen()  # noqa: SLF001 - its address came after it
    for part in path.split("."):
        node = node[part]
    return str(node)


def _content(pod: Pod, kind: str, name: str) -> dict[str, str]:
    """Entries of a ConfigMap or a Secret."""
    found = pod.kubelet.store.get(
        {"configMap": "ConfigMap", "secret": "Secret"}[kind], name, pod.document["metadata"]["namespace"]
    )
    if found is None:
        raise LookupError(f"pod {pod.name}: there is no {kind} {name}")
    coded = {} if kind == "configMap" else found.get("data") or {}
    plain = (found.get("data") if kind == "configMap" else found.get("stringData")) or {}
    return {word: base64.b64decode(text).decode() for word, text in coded.items()} | plain


def _volumes(pod: Pod) -> Iterator[tuple[str, Path]]:
    """Name and folder of every volume of a pod."""
    for volume in pod.spec.get("volumes") or ():
        name = volume["name"]
        place = pod.folder / "volumes" / name
        if "persistentVolumeClaim" in volume:
            yield name, pod.kubelet.claims[volume["persistentVolumeClaim"]["claimName"]]
            continue
        if not place.exists():
            place.mkdir(parents=True)
            if "configMap" in volume:
                _write(place, _content(pod, "configMap", volume["configMap"]["name"]), 0o644)
            elif "secret" in volume:
                _write(
                    place,
                    _content(pod, "secret", volume["secret"]["secretName"]),
                    volume["secret"].get("defaultMode", 0o644),
                )
            elif "emptyDir" in volume:
                place.chmod(0o777)
            else:
                raise NotImplementedError(f"pod {pod.name}: no volume as {name} is known here")
            group = pod.spec.get("securityContext", {}).get("fsGroup", 0)
            for path in (place, *place.iterdir()):
                os.chown(path, 0, group)
        yield name, place


def _write(place: Path, content: Mapping[str, str], mode: int) -> None:
    for name, text in content.items():
        (place / name).write_text(text, encoding="utf-8")
        (place / name).chmod(mode)


def _account(pod: Pod) -> Path:
    """Folder of the account's token."""
    place, namespace = pod.folder / "account", pod.document["metadata"]["namespace"]
    place.mkdir(exist_ok=True)
    token = f"{namespace}:{pod.spec.get('serviceAccountName', 'default')}"
    _write(place, {"token": token, "namespace": namespace}, 0o644)
    shutil.copy(pod.kubelet.folder / "api" / "ca.crt", place)
    return place


def _as_user(spec: Document, container: Document) -> list[str]:
    """Command that does another one as the user of a pod."""
    security = spec.get("securityContext", {}) | container.get("securityContext", {})
    user, group = str(security.get("runAsUser", 0)), str(security.get("runAsGroup", 0))
    capabilities = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    return [
        "/usr/bin/setpriv",
        f"--reuid={user}",
        f"--regid={group}",
        f"--groups={security.get('fsGroup', group)}",
        *capabilities,
    ]


def _script(pod: Pod, container: Document, command: Sequence[str]) -> str:
    """What makes a container's root and starts its command there."""
    root = pod.folder / f"{container['name']}-root"
    root.mkdir(exist_ok=True)
    lines = [
        f"mount -t tmpfs none {root}",
        f"cd {root}",
        "mkdir -p etc proc dev tmp usr opt",
        "mount -t proc none proc",
    ]
    lines += [f"ln -s usr/{name} {name}" for name in ("bin", "sbin", "lib", "lib64")]
    lines += ["mount --rbind /dev dev", f"touch etc/hosts; mount --bind {pod.kubelet.folder / 'hosts'} etc/hosts"]
    lines += [f"cp -a /etc/{name} etc/" for name in SYSTEM if Path("/etc", name).exists()]
    image = {
        "/usr": Path("/usr"),
        "/opt/soilscale": Path(sys.prefix),
        str(ROOT): ROOT,
        sys.base_prefix: Path(sys.base_prefix),
    }
    lines += [_bound(place, source, written=False) for place, source in image.items()]
    lines.append(_bound(COMPILED, pod.kubelet.compiled, written=True))
    volumes = dict(_volumes(pod))
    for mount in container.get("volumeMounts") or ():
        lines.append(_bound(mount["mountPath"], volumes[mount["name"]], written=not mount.get("readOnly")))
    if pod.spec.get("automountServiceAccountToken", True):
        lines.append(_bound(ACCOUNT, _account(pod), written=False))
    lines.append(f"mount -o remount,ro {root}")
    lines.append(
        shlex.join(
            [
                "exec",
                "/usr/sbin/chroot",
                str(root),
                "/usr/bin/env",
                "-C",
                TMP,
                *_as_user(pod.spec, container),
                *command,
            ]
        )
    )
    return "\n".join(lines)


def _bound(place: str, source: Path, *, written: bool) -> str:
    inside = f"./{place.lstrip('/')}"
    line = shlex.join(["mkdir", "-p", inside]) + " && " + shlex.join(["mount", "--bind", str(source), inside])
    return line if written else f"{line} && mount -o remount,bind,ro {shlex.quote(inside)}"
