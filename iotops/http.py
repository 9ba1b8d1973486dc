"""What every HTTP front shares: the error envelope, request ids, auth and the request metrics."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iotops.auth import Principal, Role, verify_bearer
from iotops.docs_page import install_docs
from iotops.errors import AuthError, TenantError
from iotops.metrics import HTTP_DURATION, HTTP_ERRORS, HTTP_REQUESTS
from iotops.settings import get_settings

TOKEN = HTTPBearer(auto_error=False, bearerFormat="JWT", description="As `iotops token issue` prints it.")
"""Tells the OpenAPI how calls are authenticated; `caller` reads the header and refuses by name."""


class ApiError(Exception):
    """A refusal with its HTTP status; `code` is stable, `message` names the thing and the remedy.

    `retry_after_s` tells the client when to try again (seconds).
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_s = retry_after_s


class _Route(APIRoute):
    """Reads a body as JSON only of a known caller: FastAPI would parse it before its dependencies ask."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def known(request: Request) -> Response:
            authenticated(request)
            return await handle(request)

        return known if self.body_field else handle


class Front(FastAPI):
    """An application that Serve pickles on its way to a replica, and whose OpenAPI survives that.

    A call that takes a model as its body is answered to a verified caller alone.
    """

    def __init__(self, *, docs_path: str = "/docs", **given: Any) -> None:
        """`docs_path` is where the OpenAPI is shown; the rest is FastAPI's."""
        super().__init__(docs_url=None, redoc_url=None, **given)
        self.router.route_class = _Route
        install_docs(self, docs_path)

    def openapi(self) -> dict[str, Any]:
        """The page, without the empty examples that it would show where none is given, and with the models of
        streamed events among the others.

        FastAPI knows the former by the identity of a value, which a pickled application has lost.
        """
        page = super().openapi()
        for operation in (each for path in page["paths"].values() for each in path.values()):
            bodies = operation.get("requestBody", {}).get("content", {}).values()
            for shown in (*operation.get("parameters", ()), *bodies):
                if shown.get("example") == {}:
                    del shown["example"]
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    for name, model in content.get("schema", {}).pop("$defs", {}).items():
                        page["components"]["schemas"].setdefault(name, model)
        return page


def install(app: FastAPI) -> None:
    """Give an application request ids, the error envelope and the request metrics."""
    app.add_middleware(_Observe)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _failure)


def authenticated(request: Request) -> Principal:
    """The verified caller, who from then on stands in `request.state.principal`, for what audits the call.

    Raises `ApiError` 401.
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is None:
        try:
            known = verify_bearer(get_settings().auth, request.headers.get("authorization"))
        except (AuthError, TenantError) as error:
            raise ApiError(401, "unauthorized", str(error)) from None
        request.state.principal = known
    return known


def caller(*roles: Role) -> Callable[..., Awaitable[Principal]]:
    """A dependency: the verified caller, who must have one of the roles."""

    async def authenticate(request: Request, _: Annotated[object, Security(TOKEN)]) -> Principal:
        principal = authenticated(request)
        try:
            principal.require(*roles)
        except AuthError as error:
            raise ApiError(403, "forbidden", str(error)) from None
        return principal

    return authenticate


def request_id(request: Request) -> str:
    """The id of this request, as answered in `X-Request-Id` and in every error."""
    return str(request.state.request_id)


class _Observe:
    """Gives each request its id and counts it. Plain ASGI: Starlette's wrapper costs a task per request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Serve's proxy gives every request an id and answers it in the header of the same name.
        given = Headers(scope=scope).get("x-request-id", "")[:64]
        scope.setdefault("state", {})["request_id"] = given or uuid.uuid4().hex
        started = time.perf_counter()
        status = 500

        async def notice(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, notice)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            tags = {"route": route, "method": scope["method"]}
            HTTP_REQUESTS.inc(tags={**tags, "status": str(status)})
            HTTP_DURATION.observe(time.perf_counter() - started, tags=tags)
            if status >= 400:
                HTTP_ERRORS.inc(tags={**tags, "status": str(status)})


def refused(scope: Scope, error: ApiError) -> Response:
    """The answer to a call that a middleware refuses."""
    return _refused(Request(scope), error)


def error_body(error: Exception, request_id: str) -> dict[str, dict[str, str]]:
    """The envelope of an error; of one that nobody foresaw the caller hears nothing of the inside."""
    if isinstance(error, ApiError):
        code, message = error.code, error.message
    else:
        code, message = "internal_error", "the request failed here: report its request id"
    return {"error": {"code": code, "message": message, "request_id": request_id}}


def _envelope(
    request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    body = error_body(ApiError(status, code, message), request_id(request))
    return JSONResponse(body, status_code=status, headers=headers)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _refused(request, error)


def _refused(request: Request, error: ApiError) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return _envelope(request, error.status, error.code, error.message, headers)


async def _failure(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the log has it."""
    return JSONResponse(error_body(error, request_id(request)), status_code=500)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's word for a body whose bytes are no text
        return _envelope(request, 422, "invalid_request", f"body: {error.detail}")
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _envelope(request, error.status_code, code, str(error.detail), error.headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return _envelope(request, 422, "invalid_request", problems)
