"""The documentation pages (Swagger UI, Redoc). All assets are served locally: browsers need no other host."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS: Final = "/api/v1/docs/assets"
OPENAPI_PATH: Final = "/openapi.json"
_HEADERS: Final = {
    # Both pages start with an inline script; only it and our assets may run, and no other page may frame these.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def install(app: FastAPI) -> None:
    """Add the pages and their assets to `app`."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/api/v1/docs", name="docs")
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url=OPENAPI_PATH,
            title=f"{app.title}: try the API",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )
        page.headers.update(_HEADERS)
        return page

    @pages.get("/api/v1/redoc", name="redoc")
    async def redoc() -> HTMLResponse:
        page = get_redoc_html(
            openapi_url=OPENAPI_PATH,
            title=f"{app.title}: read the API",
            redoc_js_url=f"{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=f"{ASSETS}/favicon.png",
            with_google_fonts=False,
        )
        page.headers.update(_HEADERS)
        return page

    app.include_router(pages)
    app.mount(ASSETS, StaticFiles(directory=_assets()), name="docs_assets")


def _assets() -> Path:
    """Return the folder of the assets in the package fastapi-offline; its code is not used. Raises RuntimeError."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise RuntimeError("the package fastapi-offline is not installed: its assets make the documentation pages")
    return Path(found.origin).parent / "static"
