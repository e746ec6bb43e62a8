"""The part of Kubernetes' API that the runner uses, with a Dask operator that starts real processes, on the loopback.

Requests are held to a Role and resources to the Dask operator's own definitions, more strictly than a real server does:
that one would prune a field it does not know. As there, what is removed goes later: it is marked, the operator lets it
go by its finalizer, and what it owns goes first.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

import charts
from charts import Document
from servers.ports import free_ports

TOKEN = "token-of-the-runner"  # noqa: S105 - of a server that lives for a test
KINDS = {"daskclusters": "DaskCluster", "daskautoscalers": "DaskAutoscaler"}
VERBS = {"POST": "create", "GET": "get", "PATCH": "patch", "DELETE": "delete"}
CERTIFICATES = {"ca-file": "ca.crt", "cert": "tls.crt", "key": "tls.key"}
"""Option of Dask's commands -> file of a Secret."""
REASONS = {403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid", 401: "Unauthorized"}
OWN = ("namespace", "ownerReferences", "annotations")
SERVERS = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "finalizers")
"""Metadata that the server and the operator write."""

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


class RefusedError(Exception):
    """An answer that is none of success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Operator:
    """Makes Dask clusters of real processes on this machine."""

    port: int
    """Of every scheduler."""
    folder: Path
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    """Cluster -> its scheduler and its workers."""
    certificates: Path | None = None
    """Folder of those of the cluster, if it has any."""

    def mount(self, secret: Document) -> None:
        """Put a Secret where the processes of the next cluster look for their certificates."""
        self.certificates = self.folder / secret["metadata"]["name"]
        self.certificates.mkdir()
        for name, content in secret["stringData"].items():
            (self.certificates / name).write_text(content, encoding="utf-8")

    def scale(self, name: str, workers: int) -> None:
        """Start the scheduler, and workers that are missing."""
        running = self.processes.setdefault(name, [])
        scheme = "tcp" if self.certificates is None else "tls"
        if not running:
            running.append(self._dask("scheduler", "--port", str(self.port), "--protocol", scheme))
        while len(running) < workers + 1:
            running.append(self._dask("worker", f"{scheme}://127.0.0.1:{self.port}", "--nthreads", "1"))

    def remove(self, name: str) -> None:
        """End all processes of a cluster."""
        running = self.processes.pop(name, [])
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _dask(self, *words: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("dask")), *words, "--host", "127.0.0.1", "--no-dashboard"]
        if self.certificates is not None:
            own = (f"--tls-{option}={self.certificates / name}" for option, name in CERTIFICATES.items())
            command += own
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)


@dataclass
class Kubernetes:
    """State of the server."""

    rules: Sequence[Document]
    """Of the Role that the runner has."""
    operator: Operator | None = None
    """None: none runs."""
    defined: bool = True
    """Whether the Dask operator's definitions are installed."""
    quota: str = ""
    """Message with which no more resources are taken."""
    pods: list[Document] = field(default_factory=list)
    events: list[Document] = field(default_factory=list)
    resourcequotas: list[Document] = field(default_factory=list)
    minor: str = "34"
    """Of the version."""
    raced: bool = False
    """Whether a cluster was removed while its autoscaler was there: the operator would hold that for a minute."""
    resources: dict[tuple[str, str], Document] = field(default_factory=dict)
    """Plural and name -> resource."""
    secrets: dict[str, Document] = field(default_factory=dict)
    """Name -> Secret."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and body of every request."""
    token: str = TOKEN
    """The one that is taken; another may follow it."""
    stuck: bool = False
    """Whether the operator is away, so that what has its finalizer does not go."""
    version: int = 0
    """Of the last change."""
    going: list[threading.Thread] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What the server says to a request."""
        where = urlsplit(path)
        with self.lock:
            self.asked.append((method, where.path, body))
            if where.path.strip("/") == "version":
                return {"major": "1", "minor": self.minor, "gitVersion": f"v1.{self.minor}.0"}
            if where.path.endswith("/selfsubjectaccessreviews"):
                return body | {"status": {"allowed": self._may(body["spec"]["resourceAttributes"])}}
            group, namespace, plural, name = parts(where.path)
            self._allow(VERBS[method] if name or method == "POST" else "list", group, plural)
            if plural in {"pods", "events", "resourcequotas"}:
                return self._listed(getattr(self, plural), parse_qs(where.query))
            if method == "POST" and plural == "secrets":
                return self._keep(namespace, body)
            if not self.defined or plural not in KINDS:
                raise RefusedError(404, "the server could not find the requested resource")
            if method == "POST":
                return self._create(plural, namespace, body)
            key = plural, name
            if self.resources.get(key, {}).get("metadata", {}).get("namespace") != namespace:
                raise RefusedError(404, f'{plural}.kubernetes.dask.org "{name}" not found')
            if method == "PATCH":
                self._patch(key, body)
            found = self.resources[key]
            if method == "DELETE":
                self._delete(key)
            return found

    def _may(self, wish: Document) -> bool:
        """Whether the Role has a right."""
        return any(
            wish["group"] in rule["apiGroups"]
            and wish["resource"] in rule["resources"]
            and wish["verb"] in rule["verbs"]
            for rule in self.rules
        )

    def _allow(self, verb: str, group: str, plural: str) -> None:
        if self._may({"verb": verb, "group": group, "resource": plural}):
            return
        raise RefusedError(403, f'{plural} is forbidden: User "runner" cannot {verb} resource "{plural}"')

    def _listed(self, found: Sequence[Document], query: Mapping[str, list[str]]) -> Document:
        wanted, having = (
            dict(pair.split("=") for text in query.get(name, ()) for pair in text.split(","))
            for name in ("labelSelector", "fieldSelector")
        )
        if not having.keys() <= {"type"}:
            raise RefusedError(400, f"field label not supported: {', '.join(having)}")
        chosen = [one for one in found if wanted.items() <= one["metadata"].get("labels", {}).items()]
        chosen = [one for one in chosen if having.items() <= one.items()]
        return {"kind": "List", "metadata": {}, "items": chosen}

    def _keep(self, namespace: str, body: Document) -> Document:
        """Store a Secret."""
        kubernetes_validate.validate(body, "1.34", strict=True)
        name = body["metadata"]["name"]
        if name in self.secrets or body["metadata"]["namespace"] != namespace:
            raise RefusedError(409, f'secrets "{name}" already exists')
        self.secrets[name] = body
        if self.operator is not None:
            self.operator.mount(body)
        return body

    def _create(self, plural: str, namespace: str, body: Document) -> Document:
        name = body["metadata"]["name"]
        if self.quota:
            raise RefusedError(403, f'{plural} "{name}" is forbidden: {self.quota}')
        if (plural, name) in self.resources:
            raise RefusedError(409, f'{plural} "{name}" already exists')
        checked(plural, body)
        if body["metadata"].get("namespace") != namespace:
            raise RefusedError(400, "the namespace of the object does not match the namespace of the request")
        self.version += 1
        own: Document = {"uid": f"uid-{len(self.asked)}", "resourceVersion": str(self.version)}
        own["creationTimestamp"] = datetime.now(UTC).isoformat(timespec="seconds")
        if self.operator is not None or self.stuck:
            own["finalizers"] = [FINALIZER]
        made: Document = body | {"metadata": body["metadata"] | own}
        self.resources[plural, name] = made
        self._operate(plural, made)
        return made

    def _patch(self, key: tuple[str, str], body: Document) -> None:
        given = body.get("metadata", {}).get("resourceVersion")
        if given not in {None, self.resources[key]["metadata"]["resourceVersion"]}:
            raise RefusedError(409, "the object has been modified; please apply your changes to the latest version")
        self.version += 1
        merged = merge(self.resources[key], body)
        merged["metadata"]["resourceVersion"] = str(self.version)
        known = {word: value for word, value in merged["metadata"].items() if word not in SERVERS}
        checked(key[0], {word: value for word, value in merged.items() if word != "status"} | {"metadata": known})
        self.resources[key] = merged
        self._operate(key[0], merged)

    def _operate(self, plural: str, made: Document) -> None:
        """Do what the Dask operator does for a resource."""
        if self.operator is None:
            return
        if plural == "daskclusters":
            made["status"] = {"phase": "Running"}
            self.operator.scale(made["metadata"]["name"], made["spec"]["worker"]["replicas"])
        elif ("daskclusters", made["spec"]["cluster"]) in self.resources:
            cluster = self.resources["daskclusters", made["spec"]["cluster"]]
            reference = {"kind": "DaskCluster", "name": made["spec"]["cluster"], "uid": cluster["metadata"]["uid"]}
            made["metadata"]["ownerReferences"] = [
                {"apiVersion": cluster["apiVersion"], **reference, "controller": True, "blockOwnerDeletion": True}
            ]
            self.operator.scale(made["spec"]["cluster"], made["spec"]["minimum"])

    def _delete(self, key: tuple[str, str]) -> None:
        """Mark what shall go; it goes at once if nothing holds it, else when the operator has done its part."""
        metadata = self.resources[key]["metadata"]
        self.raced |= key[0] == "daskclusters" and ("daskautoscalers", key[1]) in self.resources
        metadata.setdefault("deletionTimestamp", datetime.now(UTC).isoformat())
        if "finalizers" not in metadata:
            self.collect(metadata["uid"])
            del self.resources[key]
        elif not self.stuck:
            thread = threading.Thread(target=self._go, args=(key,))
            thread.start()
            self.going.append(thread)

    def _go(self, key: tuple[str, str]) -> None:
        plural, name = key
        if plural == "daskclusters" and self.operator is not None:
            self.operator.remove(name)
        with self.lock:
            if found := self.resources.pop(key, None):
                self.collect(found["metadata"]["uid"])

    def collect(self, uid: str) -> None:
        """Remove what a resource of this UID owned, as the garbage collector does when that one is gone."""
        with self.lock:
            self.secrets = {name: one for name, one in self.secrets.items() if uid not in owners(one)}
            for key, one in list(self.resources.items()):
                if key in self.resources and uid in owners(one):
                    self._delete(key)

    def rest(self) -> None:
        """Wait until all that is going has gone."""
        while self.going:
            self.going.pop().join()


def owners(resource: Document) -> set[str]:
    """UIDs of what a resource goes with."""
    return {one["uid"] for one in resource["metadata"].get("ownerReferences", ())}


def parts(path: str) -> tuple[str, str, str, str]:
    """Group, namespace, plural and name of a path; an empty name where a collection is meant."""
    words = path.strip("/").split("/")
    group = "" if words[0] == "api" else words[1]
    namespace, plural, *name = words[words.index("namespaces") + 1 :]
    return group, namespace, plural, name[0] if name else ""


def checked(plural: str, body: Document) -> None:
    """Refuse what the operator's definition does not know."""
    faults = [fault.message for fault in charts.definition(KINDS[plural], *OWN).iter_errors(body)]
    if faults:
        raise RefusedError(422, "; ".join(faults))


def merge(old: Any, new: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(new, dict) or not isinstance(old, dict):
        return new
    merged = old | {key: merge(old.get(key), value) for key, value in new.items()}
    return {key: value for key, value in merged.items() if value is not None}


@contextmanager
def serving(kubernetes: Kubernetes, folder: Path) -> Iterator[str]:
    """Serve the API; yields the path of a kubeconfig for it."""
    with _serving(kubernetes) as port:
        yield str(kubeconfig(folder, port))


@contextmanager
def serving_pods(kubernetes: Kubernetes, folder: Path) -> Iterator[dict[str, str]]:
    """Serve the API as to pods, by TLS and an account's files in a folder; yields the variables that a pod has."""
    certificate, key = folder / "ca.crt", folder.with_name("key.pem")
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=kubernetes"]
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *named], check=True, capture_output=True)
    (folder / "token").write_text(kubernetes.token, encoding="utf-8")
    (folder / "namespace").write_text("maps", encoding="utf-8")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _serving(kubernetes, context) as port:
        yield {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}


@contextmanager
def _serving(kubernetes: Kubernetes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve the API; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "null")
            try:
                if self.headers.get("Authorization") != f"Bearer {kubernetes.token}":
                    raise RefusedError(401, "Unauthorized")  # noqa: TRY301 - one way out
                if self.command == "PATCH" and self.headers["Content-Type"] != "application/merge-patch+json":
                    raise RefusedError(415, "the body of the request was in an unknown format")  # noqa: TRY301
                status, told = 200, kubernetes.answer(self.command, self.path, body)
            except RefusedError as error:
                status, reason = error.status, REASONS.get(error.status, "BadRequest")
                told = {"kind": "Status", "status": "Failure", "message": str(error), "reason": reason, "code": status}
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names that the server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        kubernetes.rest()
        for name in [] if kubernetes.operator is None else list(kubernetes.operator.processes):
            kubernetes.operator.remove(name)


def kubeconfig(folder: Path, port: int) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "runner", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "runner", "namespace": "maps"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def operator(folder: Path) -> Operator:
    """Operator whose schedulers take a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    return Operator(free_ports(1)[0], folder)
