"""Text and data put into HTML such that nothing in them can become an element, a script or a request."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rgprobe.plots.tokens import readable

__all__ = ["content_security_policy", "escaped", "plain", "script_json"]

# What may end a script element, open a comment in it, or end a line of JavaScript.
UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def escaped(text: object, *, longest: int = 400) -> str:
    """Text for element content or a quoted attribute; control and direction characters become visible signs.

    Example:
        >>> escaped("</p><b>\\x00")
        '&lt;/p&gt;&lt;b&gt;␀'
    """
    return html.escape(readable(str(text), longest=longest)) if str(text) else ""


def plain(value: Any) -> Any:
    """Lists, dicts, strings and numbers only.

    Arrays, packed by plotly or not, become lists; NaN and infinities become None; floats keep six digits.

    Example:
        >>> plain({"y": np.array([1.0, np.nan, 1 / 3])})
        {'y': [1.0, None, 0.333333]}
    """
    if isinstance(value, Mapping) and "bdata" in value:
        return plain(_decoded(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _decoded(packed: Mapping[str, str]) -> np.ndarray:
    """The array that plotly packed into base64, where NaN would survive unseen."""
    flat = np.frombuffer(base64.b64decode(packed["bdata"]), dtype=packed["dtype"])
    return flat.reshape([int(size) for size in packed["shape"].split(",")]) if "shape" in packed else flat


def script_json(value: Any) -> str:
    r"""JSON text, ASCII only, that can stand inside a script element.

    Example:
        >>> script_json(["</script>", "\u2028", "\ud800", float("nan")])
        '["\\u003c/script\\u003e","\\u2028","\\ud800",null]'
    """
    return json.dumps(plain(value), allow_nan=False, separators=(",", ":")).translate(UNSAFE)


def content_security_policy(*, scripts: Iterable[str], styles: Iterable[str]) -> str:
    """A policy under which only these scripts and styles run, and nothing is fetched.

    Images may come from data URLs, as which plotly.js draws heat maps. The hash of the empty string lets plotly.js add an
    empty style sheet (which it fills through the object model) and empty style attributes.
    """
    script_hashes = " ".join(_hash(script) for script in scripts)
    style_hashes = " ".join(_hash(style) for style in [*styles, ""])
    return (
        f"default-src 'none'; script-src {script_hashes}; style-src 'unsafe-hashes' {style_hashes}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
