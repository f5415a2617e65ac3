"""The AsyncAPI document as one HTML page for people: no script, no font and no image from anywhere."""

import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from docs.generators.contract_pages import DIRECTIONS
from docs.generators.fields import Field, fields, kept_for, size, type_name
from schemas.compatibility.json_schemas import resolve

Node = dict[str, Any]

_TEMPLATE: Final = Path(__file__).with_name("page.html")
_JSON_TOKEN: Final = re.compile(
    r"(?P<n>&quot;(?:[^&\\]|&(?!quot;)|\\.)*?&quot;(?=: ))"
    r"|(?P<s>&quot;(?:[^&\\]|&(?!quot;)|\\.)*?&quot;)"
    r"|(?P<l>\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
)


def html_page(document: Node) -> str:
    """The whole page."""
    operations = list(document["operations"].values())
    return Template(_TEMPLATE.read_text("utf-8")).substitute(
        title=escape(document["info"]["title"]),
        version=escape(document["info"]["version"]),
        introduction=_paragraph(document["info"]["description"]),
        contents=_contents(operations, document),
        body="\n".join([*(_topic(operation, document) for operation in operations), _connecting(document)]),
    )


def _contents(operations: Iterable[Node], document: Node) -> str:
    items = []
    for operation in operations:
        address = resolve(operation["channel"], document)["address"]
        messages = (resolve(reference, document) for reference in operation["messages"])
        links = "".join(f'<li><a href="#{message["name"]}">{escape(message["title"])}</a></li>' for message in messages)
        items.append(f'<li><a href="#{address}">{escape(address)}</a><ul>{links}</ul></li>')
    return f'<ul>{"".join(items)}<li><a href="#connecting">Connecting</a></li></ul>'


def _topic(operation: Node, document: Node) -> str:
    channel = resolve(operation["channel"], document)
    kafka = channel["bindings"]["kafka"]
    settings = kafka["topicConfiguration"]
    facts = {
        "Partitions": str(kafka["partitions"]),
        "Replicas": str(kafka["replicas"]),
        "Kept for": kept_for(settings),
        "Cleanup": ", ".join(settings["cleanup.policy"]),
        "Largest record": size(settings["max.message.bytes"]),
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    action = operation["action"]
    return "\n".join(
        [
            f'<section id="{channel["address"]}">',
            f'<div class="heading"><h2><code>{escape(channel["address"])}</code></h2>',
            f'<span class="badge {action}">{DIRECTIONS[action]}</span></div>',
            _paragraph(channel["description"]),
            _paragraph(operation["description"]),
            f"<dl>{listed}</dl>",
            *(_message(resolve(reference, document), document) for reference in operation["messages"]),
            "</section>",
        ]
    )


def _message(message: Node, document: Node) -> str:
    name = message["name"]
    key = message["bindings"]["kafka"]["key"]
    headers, payload = resolve(message["headers"], document), resolve(message["payload"], document)
    return "\n".join(
        [
            f'<h3 id="{name}">{escape(message["title"])}</h3>',
            _paragraph(message["summary"]),
            _paragraph(message.get("description", "")),
            "<h4>Key</h4>",
            _paragraph(f"{type_name(key, document).capitalize()}. {key['description']}"),
            "<h4>Headers</h4>",
            _paragraph(headers["description"]),
            _table(f"{name}.header", fields(headers, document)),
            f'<h4>Value <span class="quiet">{escape(message["contentType"])}</span></h4>',
            _paragraph(payload["description"]),
            _table(f"{name}.value", fields(payload, document)),
            "<h4>Examples</h4>",
            *(_example(example) for example in message["examples"]),
        ]
    )


def _table(anchor: str, rows: Iterable[Field]) -> str:
    body = "\n".join(_row(anchor, row) for row in rows)
    if not body:
        return ""
    head = '<tr><th scope="col">Field</th><th scope="col">Type</th><th scope="col">Meaning</th></tr>'
    return f"<table><thead>{head}</thead><tbody>\n{body}\n</tbody></table>"


def _row(anchor: str, field: Field) -> str:
    prefix, dot, name = field.path.rpartition(".")
    target = escape(f"{anchor}.{field.path}")
    path = f'<a href="#{target}"><span class="prefix">{escape(prefix + dot)}</span>{escape(name)}</a>'
    required = '<span class="required">required</span>' if field.required else ""
    remarks = [_paragraph(field.description)]
    if field.values:
        values = "".join(f"<code>{escape(value)}</code>" for value in field.values)
        remarks.append(f'<p class="values">{values}</p>')
    remarks.append(_paragraph(field.limits[:1].upper() + field.limits[1:], quiet=True))
    return (
        f'<tr id="{target}"><td class="path">{path}</td>'
        f'<td class="type">{escape(field.type)}{required}</td><td>{"".join(remarks)}</td></tr>'
    )


def _example(example: Node) -> str:
    headers = "\n".join(
        f'<span class="n">{escape(name)}</span>: {escape(value)}' for name, value in example["headers"].items()
    )
    payload = example["payload"]
    value = escape(payload) if isinstance(payload, str) else _highlighted(json.dumps(payload, indent=2))
    shown_headers = f"<pre>{headers}</pre>" if headers else ""
    return f"<figure><figcaption>{_inline(example['summary'])}</figcaption>{shown_headers}<pre>{value}</pre></figure>"


def _highlighted(text: str) -> str:
    return _JSON_TOKEN.sub(lambda token: f'<span class="{token.lastgroup}">{token.group()}</span>', escape(text))


def _connecting(document: Node) -> str:
    rows = []
    for name, server in document["servers"].items():
        schemes = (resolve(reference, document) for reference in server.get("security", []))
        logins = "".join(
            f"<p><code>{escape(scheme['type'])}</code> {_inline(scheme['description'])}</p>" for scheme in schemes
        )
        rows.append(
            f'<tr><td class="path">{escape(name)}</td><td class="type">{escape(server["protocol"])}</td>'
            f"<td>{_paragraph(server['description'])}{logins}</td></tr>"
        )
    return (
        '<section id="connecting"><h2>Connecting</h2>'
        "<p>The operator of the cluster says which of these it offers, and where.</p>"
        '<table><thead><tr><th scope="col">Server</th><th scope="col">Protocol</th>'
        f'<th scope="col">Login</th></tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )


def _paragraph(text: str, *, quiet: bool = False) -> str:
    opening = '<p class="quiet">' if quiet else "<p>"
    return "".join(f"{opening}{_inline(' '.join(part.split()))}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
