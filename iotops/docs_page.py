"""The page that shows an API's OpenAPI: Swagger UI from this host, where the console keeps tokens."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

HEADERS = {
    # The page's few lines of script are in it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def install_docs(app: FastAPI, path: str = "/docs") -> None:
    """Serve the page at a path beside the application's OpenAPI, with its files below."""
    app.mount(f"{path}/assets", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="docs")
    # Relative, so that they hold behind any prefix and any proxy.
    page, openapi = (each.rpartition("/")[2] for each in (path, app.openapi_url or ""))

    @app.get(path, include_in_schema=False)
    async def docs() -> HTMLResponse:
        shown = get_swagger_ui_html(
            openapi_url=openapi,
            title=app.title,
            swagger_js_url=f"{page}/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{page}/assets/swagger-ui.css",
            swagger_favicon_url=f"{page}/assets/favicon-32x32.png",
        )
        shown.headers.update(HEADERS)
        return shown
