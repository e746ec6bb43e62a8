"""Kubernetes' API as helm, the Dask operator and the runner use it together: all kinds, watches, rights, owners.

Its resources outlive its server, which can be stopped and started anew, and refuses requests as told. Beside it run
the controllers (`controllers`) and a kubelet that makes processes of pods (`kubelet`). Where only the requests of the
runner matter, `kubernetes_api` is quicker, and stricter with the fields of Dask clusters.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import jsonpatch

from charts import Document
from servers.bodies import read
from servers.cluster_store import GLOBAL, Key, Store, plural
from servers.kubernetes_api import REASONS, RefusedError, merge

BUILT_IN = {
    "v1": "Pod Service ConfigMap Secret ServiceAccount Event Namespace Node PersistentVolumeClaim ResourceQuota",
    "apps/v1": "Deployment",
    "batch/v1": "Job CronJob",
    "rbac.authorization.k8s.io/v1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "policy/v1": "PodDisruptionBudget",
    "networking.k8s.io/v1": "NetworkPolicy",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
}
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
ADMIN = "token-of-the-administrator"


class Target(NamedTuple):
    """What a path names."""

    version: str
    """Group and version."""
    kind: str
    namespace: str
    name: str
    part: str
    """Subresource."""


def selected(resource: Document, query: Mapping[str, list[str]]) -> bool:
    """Whether the selectors of a request choose a resource."""
    for name in ("labelSelector", "fieldSelector"):
        for term in filter(None, ",".join(query.get(name, ())).split(",")):
            path, _, wish = term.replace("==", "=").partition("=")
            node: Any = resource["metadata"].get("labels", {}).get(path) if name == "labelSelector" else resource
            for part in path.split(".") if name == "fieldSelector" else ():
                node = (node or {}).get(part)
            if node is None or ("=" in term and str(node) != wish):
                return False
    return True


@dataclass
class Api:
    """The server of a store."""

    store: Store
    folder: Path
    """Of its certificate."""
    port: int = 443
    refusal: Callable[[str, str, str], int] | None = None
    """User, method and path -> status with which the request is refused, or 0."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """User, method and path of every request."""
    _server: ThreadingHTTPServer | None = None
    _applied: dict[tuple[Key, str], Document] = field(default_factory=dict)

    def kinds(self) -> dict[tuple[str, str], str]:
        """Group with version, and name in a path -> kind."""
        built_in = {(version, plural(kind)): kind for version, kinds in BUILT_IN.items() for kind in kinds.split()}
        for one in self.store.all("CustomResourceDefinition"):
            spec = one["spec"]
            for version in spec["versions"]:
                built_in[f"{spec['group']}/{version['name']}", spec["names"]["plural"]] = spec["names"]["kind"]
        return built_in

    def target(self, path: str) -> Target | None:
        """What a path names; None where that is a list of kinds."""
        words = [unquote(word) for word in path.strip("/").split("/")]
        take = 2 if words[0] == "api" else 3
        version, rest, namespace = "/".join(words[1:take]), words[take:], ""
        if len(rest) > 2 and rest[0] == "namespaces":
            _, namespace, *rest = rest
        if not rest:
            return None
        kind = self.kinds().get((version, rest[0]))
        if kind is None and rest[0] != "selfsubjectaccessreviews":
            raise RefusedError(404, f"the server could not find the requested resource {path}")
        name, part, *_ = [*rest[1:], "", ""]
        return Target(version, kind or "SelfSubjectAccessReview", namespace, name, part)

    def discovery(self, path: str) -> Document:
        """Lists of groups, versions and kinds."""
        kinds = self.kinds()
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            found = sorted({version for version, _ in kinds if "/" in version})
            groups = [
                {"name": one.split("/")[0], "versions": [way], "preferredVersion": way}
                for one in found
                for way in [{"groupVersion": one, "version": one.split("/")[1]}]
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        listed = [
            {"name": name, "singularName": kind.lower(), "namespaced": kind not in GLOBAL, "kind": kind, "verbs": verbs}
            for (one, name), kind in kinds.items()
            if one == version
        ]
        if not listed:
            raise RefusedError(404, f"the server could not find the requested resource {path}")
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}

    def answer(self, user: str, method: str, path: str, content: bytes, kind: str) -> Document | Iterator[Document]:
        """What the server says to a request; many answers where it is a watch."""
        where = urlsplit(path)
        query = parse_qs(where.query)
        if where.path.rstrip("/") == "/version":
            return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if self.refusal is not None and (status := self.refusal(user, method, where.path)):
            raise RefusedError(status, f"refused with {status}, as the test wants it")
        target = self.target(where.path) if where.path.count("/") > 1 else None
        if target is None:
            return self.discovery(where.path.rstrip("/"))
        if target.kind == "SelfSubjectAccessReview":
            review: Document = json.loads(content)
            wish = review["spec"]["resourceAttributes"]
            allowed = self.allowed(
                user, wish["verb"], wish.get("group", ""), wish["resource"], wish.get("namespace", "")
            )
            return review | {"status": {"allowed": allowed}}
        watches = query.get("watch", [""])[0] in {"1", "true"}
        verb = VERBS.get(method) or ("watch" if watches else "get" if target.name else "list")
        group = target.version.rpartition("/")[0]
        name = plural(target.kind) + (f"/{target.part}" if target.part else "")
        if not self.allowed(user, verb, group, name, target.namespace):
            raise RefusedError(403, f'{name} is forbidden: User "{user}" cannot {verb} resource "{name}"')
        if watches:
            return self.watch(target, query)
        return self._act(target, method, query, read(content), kind)

    def _act(
        self, target: Target, method: str, query: Mapping[str, list[str]], body: Any, content_type: str
    ) -> Document:
        """Do what a request asks for."""
        store = self.store
        with store.changed:
            there = store.get(target.kind, target.name, target.namespace)
            if method == "POST" and not target.part:
                return store.create({"apiVersion": target.version, "kind": target.kind} | body, target.namespace)
            if "apply-patch" in content_type:
                return self._apply(target, there, body, query.get("fieldManager", [""])[0])
            if not target.name:
                return self._list(target, query)
            if there is None:
                raise RefusedError(404, f'{plural(target.kind)} "{target.name}" not found')
            if method == "DELETE":
                policy = body.get("propagationPolicy") or query.get("propagationPolicy", ["Background"])[0]
                return store.delete(there, policy, body.get("gracePeriodSeconds"))
            return there if method == "GET" else self._change(target, there, body, content_type)

    def _change(self, target: Target, there: Document, body: Any, content_type: str) -> Document:
        """Change a resource, or evict a pod."""
        if target.part == "eviction":
            return self.store.evict(there)
        if "merge-patch" in content_type and "strategic" not in content_type:
            return self.store.patch(there, body)
        if "json-patch" in content_type:
            try:
                return self.store.replace(there, jsonpatch.apply_patch(there, body))
            except jsonpatch.JsonPatchException as error:  # such as of a version that is no longer the resource's
                raise RefusedError(422, str(error)) from error
        if "patch" in content_type:
            raise RefusedError(415, f"the body of the request was in an unknown format: {content_type}")
        return self.store.replace(there, {"apiVersion": target.version, "kind": target.kind} | body)

    def _list(self, target: Target, query: Mapping[str, list[str]]) -> Document:
        found = [one for one in self.store.all(target.kind, target.namespace) if selected(one, query)]
        version = {"resourceVersion": str(len(self.store.changes))}
        return {"apiVersion": target.version, "kind": f"{target.kind}List", "metadata": version, "items": found}

    def _apply(self, target: Target, there: Document | None, body: Document, manager: str) -> Document:
        """Server-side apply: what its manager applied before and does not any more goes."""
        key = (target.kind, target.namespace, target.name), manager
        before, self._applied[key] = self._applied.get(key, {}), deepcopy(body)
        if there is None:
            return self.store.create(body, target.namespace)
        return self.store.replace(there, merge(merge(there, _without(before, body)), body))

    def watch(self, target: Target, query: Mapping[str, list[str]]) -> Iterator[Document]:
        """Changes since a version, until the time is over or the server stops."""
        store, server = self.store, self._server
        until = time.monotonic() + float(query.get("timeoutSeconds", ["600"])[0])
        with store.changed:
            since, before = int(query.get("resourceVersion", [""])[0] or 0), store.expirations
            first = [] if since else self._list(target, query)["items"]
            since = since or len(store.changes)
        yield from ({"type": "ADDED", "object": one} for one in first)
        if "sendInitialEvents" in query:
            metadata = {"resourceVersion": str(since), "annotations": {"k8s.io/initial-events-end": "true"}}
            yield {
                "type": "BOOKMARK",
                "object": {"apiVersion": target.version, "kind": target.kind, "metadata": metadata},
            }
        while time.monotonic() < until and self._server is server:
            with store.changed:
                if len(store.changes) == since:
                    store.changed.wait(0.5)
                if store.expirations != before:
                    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    yield {"type": "ERROR", "object": gone}
                    return
                new, since = store.changes[since:], len(store.changes)
            for change, resource in new:
                place = resource["metadata"].get("namespace", "")
                if resource["kind"] == target.kind and target.namespace in {"", place} and selected(resource, query):
                    yield {"type": change, "object": resource}

    def allowed(self, user: str, verb: str, group: str, name: str, namespace: str) -> bool:
        """Whether the roles that are bound to an account, `namespace:name`, let it do this."""
        if user == ADMIN:
            return True
        home, _, account = user.partition(":")
        for binding in (*self.store.all("RoleBinding", namespace or "-"), *self.store.all("ClusterRoleBinding")):
            place = binding["metadata"].get("namespace", "")
            subjects = {(one.get("namespace", place), one["name"]) for one in binding.get("subjects", ())}
            role = self.store.get(binding["roleRef"]["kind"], binding["roleRef"]["name"], place)
            if (
                (home, account) in subjects
                and role is not None
                and any(_rules(one, verb, group, name) for one in role["rules"])
            ):
                return True
        return False

    def start(self) -> None:
        """Serve, in the network of the thread that calls."""
        certificate, key = self.folder / "ca.crt", self.folder / "ca.key"
        if not certificate.exists():
            self.folder.mkdir(exist_ok=True)
            words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=kubernetes -addext"
            names = "subjectAltName=IP:10.77.0.1,DNS:kubernetes.default.svc"
            files = ("-keyout", str(key), "-out", str(certificate))
            subprocess.run(["openssl", *words.split(), names, *files], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # On all addresses of its network, which is not this machine's.
        server = _Server(("0.0.0.0", self.port), type("Handler", (_Handler,), {"api": self}))  # noqa: S104
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Serve no more, and forget no resource."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    """Takes as many connections at once as an operator makes."""

    request_queue_size = 128
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    """Requests over one connection."""

    api: Api
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        user = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.api.requests.append((user, self.command, self.path))
        if self.api._server is None:  # noqa: SLF001 - a server that has stopped says nothing
            self.close_connection = True
            return
        try:
            told = self.api.answer(user, self.command, self.path, content, self.headers.get("Content-Type", ""))
        except RefusedError as error:
            reason = REASONS.get(error.status, "TooManyRequests" if error.status == 429 else "BadRequest")
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": error.status}
            self._send(status | {"message": str(error)}, error.status)
            return
        if isinstance(told, dict):
            self._send(told, 201 if self.command == "POST" else 200)
        else:
            self._stream(told)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names that the server looks for

    def _send(self, told: Document, status: int) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, told: Iterator[Document]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for one in told:
                line = json.dumps(one).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # whoever watched has gone
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _rules(rule: Document, verb: str, group: str, name: str) -> bool:
    """Whether a rule of a role has a right."""
    wishes = (("verbs", verb), ("apiGroups", group), ("resources", name))
    return all({"*", wish} & set(rule.get(part, ())) for part, wish in wishes)


def _without(before: Any, after: Any) -> Document:
    """Merge patch that takes away what one document has and another has not."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return {}
    gone: Document = {name: None for name in before if name not in after}
    deeper = {name: _without(value, after[name]) for name, value in before.items() if name in after}
    return gone | {name: one for name, one in deeper.items() if one}
