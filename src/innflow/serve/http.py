"""The HTTP interface of a trained run."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from innflow.app import Application
from innflow.config.message import one_line
from innflow.data.image.decode import decode
from innflow.errors import InnflowError
from innflow.serve.batching import Batcher, Busy
from innflow.serve.endpoint import Endpoint, make_endpoints

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Attributes:
        rows: items of a request, and of a joined call of the model.
        draws: random draws of a request.
        megabytes: of the body of a request.
        queue: waiting requests.
        seconds: until a request is given up.
    """

    rows: int = 1024
    draws: int = 100_000
    megabytes: int = 16
    queue: int = 64
    seconds: int = 30


def make_server(app: Application, limits: Limits, host: str = "127.0.0.1") -> FastAPI:
    """Return the web application of a trained run.

    Args:
        app: in evaluation mode.
        limits: of requests.
        host: address at which it is served; requests to a loopback address have to name it, so
            that a web page elsewhere cannot reach it under a name of its own.
    """
    server = FastAPI(title="innflow", docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOOPBACK:
        server.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    batcher = Batcher(limits.rows, limits.queue)
    endpoints = make_endpoints(app, limits.rows, limits.draws)

    @server.exception_handler(StarletteException)
    async def refuse(request: Request, error: StarletteException) -> JSONResponse:
        content = {"error": str(error.detail)}
        return JSONResponse(content, error.status_code, headers=error.headers)

    @server.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "internal error; the log of the server has it"}, 500)

    @server.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "waiting": len(batcher)}

    @server.get("/")
    async def card() -> dict[str, Any]:
        return {
            "name": app.config.get("name"),
            "application": type(app).__name__,
            "partition": str(app.partition),
            "shape": list(app.shape),
            "columns": app.columns,
            "limits": vars(limits),
            "endpoints": {f"POST /{name}": one.takes for name, one in endpoints.items()},
        }

    def handler(endpoint: Endpoint) -> Callable[..., Any]:
        async def handle(request: Request) -> JSONResponse:
            body = await _read_body(request, limits.megabytes << 20)
            try:
                fields = await _parse(request, body, app.shape, limits.rows)
                function, items = endpoint.prepare(fields)
                found = await batcher.submit(function, items, limits.seconds)
            except InnflowError as error:
                raise HTTPException(422, one_line(error)) from None
            except Busy:
                message = f"{limits.queue} requests wait already; try again"
                raise HTTPException(503, message, {"Retry-After": "1"}) from None
            except asyncio.TimeoutError:
                raise HTTPException(504, f"no result within {limits.seconds} s") from None
            return JSONResponse({name: _plain(values) for name, values in found.items()})

        return handle

    for name, endpoint in endpoints.items():
        server.add_api_route(f"/{name}", handler(endpoint), methods=["POST"], response_model=None)
    return server


async def _read_body(request: Request, most: int) -> bytes:
    """Return the body of a request; stop reading where it is too large."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise HTTPException(413, f"the body is larger than {most >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


async def _parse(
    request: Request, body: bytes, shape: tuple[int, ...], rows: int
) -> dict[str, Any]:
    """Return the fields of a request; pictures become the field x, (B, C, H, W) uint8."""
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind.startswith("image/"):
        return {"x": await _decode([("the picture", body)], shape)}
    if kind == "multipart/form-data":
        return {"x": await _decode(await _read_form(request, body, rows), shape)}
    if kind not in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        raise HTTPException(415, f"{kind}: send application/json, image/* or multipart/form-data")
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise HTTPException(400, 'the body must be a JSON object, such as {"x": [[0.5, 1.0]]}')
    return fields


async def _read_form(request: Request, body: bytes, rows: int) -> list[tuple[str, bytes]]:
    """Return name and content of every file of a form."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    form = await Request(request.scope, receive).form(max_files=rows, max_fields=0)
    files = [value for _, value in form.multi_items() if not isinstance(value, str)]
    return [(file.filename or "a file", await file.read()) for file in files]


async def _decode(files: list[tuple[str, bytes]], shape: tuple[int, ...]) -> np.ndarray:
    """Return picture files as uint8 (B, C, H, W), resized and cropped as in training."""
    if len(shape) != 3:
        raise InnflowError('this run takes vectors: send JSON, such as {"x": [[0.5, 1.0]]}')
    if not files:
        raise InnflowError("the form has no file")

    def decode_all() -> np.ndarray:
        images = []
        for name, content in files:
            try:
                images.append(decode(content, shape[1], shape[0]))
            except ValueError as error:
                raise InnflowError(f"{name}: {error}") from None
        return np.stack(images)

    return await run_in_threadpool(decode_all)


def _plain(array: np.ndarray) -> Any:
    """Return an array as nested lists, with None for values that are not finite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = array.astype(object)
        array[~np.isfinite(array.astype(float))] = None
    return array.tolist()
