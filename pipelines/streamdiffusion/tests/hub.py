"""A model hub on this machine, as far as huggingface_hub's client asks for it: listings, and files in parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

COMMIT = "1" * 40


@dataclass
class Hub:
    """Repositories in folders.

    Attributes:
        repos: hub id -> folder.
        cut: names of files whose first delivery breaks off in the middle.
        refused: names of files that are not given to anybody.
        got: (repo, file) of every whole delivery.
        asked: how many requests there were.
    """

    repos: dict[str, Path]
    cut: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    got: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0

    def server(self) -> TestServer:
        """To be used as an async context manager."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/models/{owner}/{name}/tree/{revision}", self._tree),
                web.get("/api/models/{owner}/{name}/revision/{revision}", self._info),
                web.get("/{owner}/{name}/resolve/{revision}/{file:.+}", self._file),
            ]
        )
        return TestServer(app, host="127.0.0.1")

    def files(self, repo: str) -> list[str]:
        """Names of what was delivered of a repository."""
        return sorted({file for name, file in self.got if name == repo})

    def _folder(self, request: web.Request) -> tuple[str, Path]:
        self.asked += 1
        repo = f"{request.match_info['owner']}/{request.match_info['name']}"
        if repo not in self.repos:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RepoNotFound"})
        return repo, self.repos[repo]

    async def _tree(self, request: web.Request) -> web.Response:
        _, folder = self._folder(request)
        return web.json_response(
            [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _digest(path)}
                for name, path in _listing(folder)
            ]
        )

    async def _info(self, request: web.Request) -> web.Response:
        repo, folder = self._folder(request)
        siblings = [{"rfilename": name} for name, _ in _listing(folder)]
        return web.json_response({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "tags": []})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        repo, folder = self._folder(request)
        name = request.match_info["file"]
        path = folder / name
        if not path.is_file():
            raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{_digest(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        data = path.read_bytes()
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(data))})
        if name in self.refused:
            raise web.HTTPForbidden
        if name in self.cut:
            self.cut.remove(name)
            response = web.StreamResponse(headers={**headers, "Content-Length": str(len(data))})
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        self.got.append((repo, name))
        start = request.http_range.start or 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return web.Response(body=data[start:], headers=headers, status=206 if start else 200)


def _listing(folder: Path) -> list[tuple[str, Path]]:
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def _digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
