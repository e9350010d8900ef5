"""Answers that are errors, in the shapes that the network's clients know (contract 3.1).

Every one is JSON and says so: the network's client decodes by that header, and then trusts what it has decoded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from ..live.log import mask

logger = logging.getLogger(__name__)


class APIError(BaseModel):
    """API error response model."""

    msg: str = Field(description="The error message.")


class HTTPError(BaseModel):
    """HTTP error response model."""

    detail: APIError = Field(description="Detailed error information.")


class ValidationError(BaseModel):
    loc: list[str | int] = Field(title="Location")
    msg: str = Field(title="Message")
    type: str = Field(title="Error Type")


class HTTPValidationError(BaseModel):
    detail: list[ValidationError] = []


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """``{"detail": {"msg": message}}``, without secrets."""
    return JSONResponse({"detail": {"msg": mask(message)}}, status, dict(headers) if headers else None)


def answer_errors(app: FastAPI) -> None:
    """Give errors their shapes, whoever raises them."""
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(Exception, _unexpected)


def _http_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


def _wrong_body(_request: Request, error: Exception) -> JSONResponse:
    """Place, reason and kind of each mistake; not what was given, which may be a secret."""
    assert isinstance(error, RequestValidationError)
    wrong = [{"loc": list(item["loc"]), "msg": mask(item["msg"]), "type": item["type"]} for item in error.errors()]
    return JSONResponse({"detail": wrong}, 422)


def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path)  # the server logs the exception itself
    return problem(500, "Internal error; the runner's log says more.")
