"""Pods as processes of this machine, each with its network, files, variables and user, as a kubelet starts and ends them.

Needs root: namespaces of processes, mounts and networks hold a pod. The image is the checkout with its environment, at the
image's paths; the root may not be written.
"""

from __future__ import annotations

import base64
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from charts import Document
from checkout import ROOT
from servers.cluster_store import Store, now

COMPILED = "/var/cache/numba"
"""Where pods have what Numba compiled; all the same folder, else each would take half a minute for it."""
NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of the kernel."""
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
LOOK_EVERY = 0.1
SYSTEM = ("passwd", "group", "ssl", "ld.so.cache", "nsswitch.conf", "localtime", "mime.types", "fonts", "ImageMagick-6")
"""What of /etc the image has."""
DIES = ("setpriv", "--pdeathsig", "KILL")
"""Command that does another one as long as the thread lives that started it."""
MOST = 60
"""Pods that a test may start: more are a storm."""
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Image:
    """What starts in a container that names no command, and with which variables."""

    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass
class Network:
    """A process that holds a network of its own, as long as it lives."""

    holder: subprocess.Popen[bytes]
    address: str

    @classmethod
    def of_a_node(cls, address: str) -> Network:
        """Network in which pods meet, with an address for the API."""
        made = cls(_hold(), address)
        made.call("ip", "link", "set", "lo", "up")
        made.call("ip", "link", "add", "pods", "type", "bridge")
        made.call("ip", "addr", "add", f"{address}/16", "dev", "pods")
        made.call("ip", "link", "set", "pods", "up")
        return made

    def of_a_pod(self, number: int) -> Network:
        """Network of a pod, on this node's."""
        made = Network(_hold(), f"{self.address.rsplit('.', 2)[0]}.{number // 250 + 1}.{number % 250 + 1}")
        pair = ("type", "veth", "peer", "name", "eth0", "netns", str(made.holder.pid))
        self.call("ip", "link", "add", f"pod{number}", *pair)
        self.call("ip", "link", "set", f"pod{number}", "master", "pods", "up")
        made.call("ip", "link", "set", "lo", "up")
        made.call("ip", "addr", "add", f"{made.address}/16", "dev", "eth0")
        made.call("ip", "link", "set", "eth0", "up")
        made.call("ip", "route", "add", "default", "via", self.address)
        return made

    def inside(self, *command: str) -> list[str]:
        """Command that does another one in this network."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command]

    def call(self, *command: str) -> None:
        subprocess.run(self.inside(*command), check=True, capture_output=True)

    def enter(self) -> None:
        """Bring the thread that calls into this network, and what it starts."""
        with Path(f"/proc/{self.holder.pid}/ns/net").open("rb") as network:
            if LIBC.setns(network.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()


def _hold() -> subprocess.Popen[bytes]:
    """Process with a network of its own."""
    process = subprocess.Popen([*DIES, "unshare", "--net", "sleep", "infinity"])
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{process.pid}/ns/net").readlink() == here:
        time.sleep(0.005)
    return process


@dataclass
class Kubelet:
    """Starts and ends the pods of a store."""

    store: Store
    network: Network
    folder: Path
    """Of volumes and logs of pods, and of what every pod has: `hosts`, and the API's certificate in `api`."""
    images: Mapping[str, Image]
    """Repository -> image."""
    compiled: Path
    """Folder of what Numba compiled."""
    claims: dict[str, Path] = field(default_factory=dict)
    """PersistentVolumeClaim -> folder."""
    faults: list[BaseException] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    pods: dict[str, Pod] = field(default_factory=dict)
    """UID -> pod that was started."""

    def run(self) -> None:
        """Start what is there until stopped, then end all."""
        while not self.stopped.wait(LOOK_EVERY):
            for document in self.store.all("Pod"):
                uid = document["metadata"]["uid"]
                if uid not in self.pods and len(self.pods) == MOST:
                    self.faults.append(RuntimeError(f"more than {MOST} pods were started"))
                elif uid not in self.pods:
                    self.pods[uid] = Pod(self, document, len(self.pods) + 1)
                    self.pods[uid].thread.start()
        for pod in self.pods.values():
            pod.thread.join()


class Pod:
    """One pod, from its volumes to its end."""

    def __init__(self, kubelet: Kubelet, document: Document, number: int) -> None:
        self.kubelet, self.document, self.number = kubelet, document, number
        self.spec: Document = document["spec"]
        self.name = str(document["metadata"]["name"])
        self.folder = kubelet.folder / self.name
        self.ends: dict[str, list[Document]] = {"initContainerStatuses": [], "containerStatuses": []}
        self.thread = threading.Thread(target=self._live, name=self.name)
        self.killed = threading.Event()
        """Set by a test whose node dies: SIGKILL without a word."""

    def log(self) -> str:
        """What all containers of the pod have said."""
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.folder.glob("*.log")))

    def codes(self) -> list[int]:
        """Exit statuses of the containers that have ended."""
        listed = [*self.ends["initContainerStatuses"], *self.ends["containerStatuses"]]
        return [one["state"]["terminated"]["exitCode"] for one in listed if "terminated" in one["state"]]

    def _live(self) -> None:
        network = None
        try:
            self.folder.mkdir()
            network = self.kubelet.network.of_a_pod(self.number)
            network.enter()
            self._say({"podIP": network.address, "startTime": now()})
            phase = self._contain()
        except Exception as error:  # noqa: BLE001 - raised by whoever stops the cluster
            self.kubelet.faults.append(error)
            phase = "Failed"
        finally:
            if network is not None:
                network.close()
        held = [one for one in self._seen().get("status", {}).get("conditions", ()) if one["type"] != "Ready"]
        self._say({"phase": phase, "conditions": held, **self.ends})

    def _contain(self) -> str:
        """Run all containers; the phase in which the pod ends."""
        again = self.spec.get("restartPolicy", "Always") == "Always"
        for container in self.spec.get("initContainers", ()):
            if self._run(container, "initContainerStatuses"):
                return "Failed"
            if self._ending():
                return "Failed"
        (container,) = self.spec["containers"]
        while True:
            code = self._run(container, "containerStatuses")
            if self._ending() or not again:
                return "Failed" if code else "Succeeded"
            time.sleep(1)

    def _run(self, container: Document, of: str) -> int:
        """Run a container to its end; its exit status."""
        runs = Running(self, container)
        earlier = [one for one in self.ends[of] if one["name"] == container["name"]]
        restarts = earlier[0]["restartCount"] + 1 if earlier else 0
        others = [one for one in self.ends[of] if one["name"] != container["name"]]
        while runs.process.poll() is None:
            status = {"name": container["name"], "restartCount": restarts, "ready": runs.ready()}
            self.ends[of] = [*others, status | {"state": {"running": {}}}]
            self._say(
                {"phase": "Running" if of == "containerStatuses" else "Pending", **self.ends}, ready=status["ready"]
            )
            if self._ending():
                runs.end(float(self._seen()["metadata"].get("deletionGracePeriodSeconds", 0)))
            elif self.killed.is_set():
                runs.kill()
            else:
                time.sleep(LOOK_EVERY)
        code = 137 if runs.killed else runs.process.wait()
        ended = {"exitCode": code, "finishedAt": now()}
        status = {"name": container["name"], "restartCount": restarts, "ready": False, "state": {"terminated": ended}}
        self.ends[of] = [*others, status]
        self._say(self.ends)
        return code

    def _seen(self) -> Document:
        """The pod as the API has it; as going where it is there no more."""
        there = self.kubelet.store.get("Pod", self.name, self.document["metadata"]["namespace"])
        if there is None or there["metadata"]["uid"] != self.document["metadata"]["uid"]:
            return {"metadata": {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}}
        return there

    def _ending(self) -> bool:
        return self.kubelet.stopped.is_set() or "deletionTimestamp" in self._seen()["metadata"]

    def _say(self, status: Document, *, ready: bool = False) -> None:
        """Write the status, where that says something new."""
        with self.kubelet.store.changed:
            there = self._seen()
            if "kind" not in there:
                return
            if ready and not any(one["type"] == "Ready" for one in there["status"].get("conditions", ())):
                sign = {"type": "Ready", "status": "True"}
                status = status | {"conditions": [*there["status"].get("conditions", ()), sign]}
            self.kubelet.store.patch(there, {"status": status})


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
                inside = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--root", "--wd=/tmp"]
                command = [*inside, *_as_user(self.pod.spec, self.container), *hook]
                with self.script.with_name("prestop.log").open("ab") as log:
                    subprocess.run(command, env=self.environment, stdout=log, stderr=log, timeout=grace, check=False)
            os.kill(self.first, signal.SIGTERM)
            self.process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self.kill()
        except (IndexError, ProcessLookupError, psutil.NoSuchProcess):  # it has ended by itself
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL to all processes of the container, of which `unshare` gives no status."""
        self.killed = True
        try:
            os.kill(self.first, signal.SIGKILL)
        except (IndexError, ProcessLookupError, psutil.NoSuchProcess):
            pass
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
                "/tmp",
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
