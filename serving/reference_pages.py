"""The OpenAPI document and Swagger UI, from files of this host alone: a browser without network shows them."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from serving.openapi import document
from serving.problems import NO_SUCH_ROUTE, problem_response

ASSETS = frozenset(
    {"swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "favicon-32x32.png", "index.css"}
)
HEADERS = {
    # Whatever a page might want from elsewhere, the browser refuses.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
PAGE = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Sentinela API</title>
    <link rel="stylesheet" href="docs/index.css">
    <link rel="stylesheet" href="docs/swagger-ui.css">
    <link rel="icon" href="docs/favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/start.js"></script>
  </body>
</html>
"""
# Without validatorUrl the page would show the document to a service on the internet.
START = """\
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


def reference_routes() -> list[Route]:
    """``/openapi.json``, ``/docs`` and what the page loads."""
    return [Route("/openapi.json", openapi), Route("/docs", docs), Route("/docs/{name}", asset)]


async def openapi(_: Request) -> Response:
    """``GET /v1/openapi.json``: this document."""
    return Response(_document_text(), media_type="application/json")


async def docs(_: Request) -> Response:
    """``GET /v1/docs``: Swagger UI."""
    return HTMLResponse(PAGE, headers=HEADERS)


async def asset(request: Request) -> Response:
    """``GET /v1/docs/{name}``: a file of Swagger UI."""
    name = request.path_params["name"]
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=HEADERS)
    if name not in ASSETS:
        return problem_response(NO_SUCH_ROUTE, "the page at /v1/docs has no such file")
    return FileResponse(_folder() / name, headers=HEADERS)


@cache
def _document_text() -> bytes:
    return json.dumps(document(), ensure_ascii=False).encode()


@cache
def _folder() -> Path:
    """Files of Swagger UI, as a package brings them; its Flask part is not imported."""
    found = find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        raise FileNotFoundError("flask-swagger-ui is not installed; run `make setup`")
    return Path(found.origin).parent / "dist"
