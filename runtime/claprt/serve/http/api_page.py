"""API reference as an HTML page without scripts, rendered from the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_FOR_PROGRAMS = """<p class="quiet">For programs: <a href="/openapi.json">openapi.json</a>. Where the service needs
a token, requests carry <code>Authorization: Bearer …</code>.</p>"""
_SOCKETS = (
    (
        "/clap",
        "Embedding of audio: raw float32 samples, a file, or JSON; kromosynth's protocol. Also at every other path.",
    ),
    ("/clap-bd", "The same, with a behaviour descriptor."),
    ("/stream", "Blocks of samples in, windows with probabilities of labels and events out, as they come."),
    ("/project", "Behaviour descriptors of embeddings; kromosynth's projection protocol."),
)


def api_page(document: Mapping[str, Any]) -> str:
    """Render every endpoint of an OpenAPI document with the fields of its request."""
    parts = [
        f"<p>{_prose(document['info']['description'])}</p>",
        _FOR_PROGRAMS,
        "<section><h2>WebSockets</h2><dl class='fields'>",
        *(f"<div><dt><code>{path}</code></dt><dd>{escape(text)}</dd></div>" for path, text in _SOCKETS),
        "</dl></section>",
    ]
    for path, methods in document["paths"].items():
        for method, endpoint in methods.items():
            if method != "servers":
                parts.extend(_endpoint(document, f"{method.upper()} {path}", endpoint))
    return _PAGE.format(body="\n".join(parts))


def _endpoint(document: Mapping[str, Any], name: str, endpoint: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{escape(name)}</code></h2><p>{_prose(endpoint.get('description', ''))}</p>"
    for kind, content in endpoint.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, content["schema"])
        required = set(schema.get("required", ()))
        yield f"<h3><code>{escape(kind)}</code></h3><dl class='fields'>"
        for field, about in schema.get("properties", {}).items():
            facts = ", required" if field in required else _default(about)
            kind_and_facts = escape(_type(document, about) + facts)
            yield f"<div><dt><code>{escape(field)}</code> <span class='quiet'>{kind_and_facts}</span></dt>"
            yield f"<dd>{_prose(about.get('description', ''))}</dd></div>"
        yield "</dl>"
    yield "</section>"


def _prose(text: str) -> str:
    """Escape a description; text between backticks becomes code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference inside the document points to, or the schema itself."""
    for name in schema.get("$ref", "").removeprefix("#/").split("/") if "$ref" in schema else ():
        document = document[name]
    return document if "$ref" in schema else schema


def _type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    schema = _resolved(document, schema)
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(document, one) for one in schema[several])
    if schema.get("type") == "array":
        return f"list of {_type(document, schema.get('items', {}))}"
    return "file" if schema.get("format") == "binary" else str(schema.get("type", "any"))


def _default(schema: Mapping[str, Any]) -> str:
    return f", {schema['default']} by default" if schema.get("default") not in (None, "", []) else ""


_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>claprt: HTTP and WebSocket interface</title>
    <link rel="icon" href="/page/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/page/page.css">
  </head>
  <body class="document">
    <header><h1><img src="/page/icon.svg" alt="" width="32" height="32">claprt</h1><p><a href="/">Try it</a></p></header>
    <main>
{body}
    </main>
  </body>
</html>
"""
