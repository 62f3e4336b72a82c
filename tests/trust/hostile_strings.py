"""Token texts that are more than text to whatever shows them."""

import numpy as np

MARKUP = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "'\"><b>", "<!--", "-->", "]]>", "<![CDATA[", "&lt;", "&#x3c;script&#x3e;", "<style>*{display:none}</style>",
    "<iframe src=https://example.com>", "<a href='javascript:alert(1)'>", "</title>", "</template>", "</noscript>", "</pre>",
    "<base href=//example.com>", "<meta http-equiv=refresh content=0>", "<link rel=stylesheet href=//example.com/x>",
    "<?xml version='1.0'?>", "<!DOCTYPE html>", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "<foreignObject>",
    "<use href='data:image/svg+xml,x'>", "javascript:alert(1)", "url(https://example.com)", "@import 'x'", "{{7*7}}", "${7*7}",
    "%{customdata}", "%{x:$.2f}<extra>", "<br>", "<b>bold</b>", "<sup>", "\\u003cscript\\u003e", "`alert(1)`", "{\"a\":1}",
)  # fmt: skip
GRAMMAR = (
    "(", ")", ",", ";", ":", "'", "''", "\"", "[", "]", "{", "}", "(a:1,b:2);", "'a','b'", "[&R]", "\\", "\\n", "\\\\'", "=1+1",
    "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", "a,b", "a\"b", "\"a\"\"b\"", "a\nb", "a\r\nb", "NaN", "null", "true",
    "None", "Infinity", "1e999", "0x10", "__proto__", "constructor", "$", "$$", "$x^2$", "\\frac{1}{2}", "$\\badcommand$", "%",
    "%s", "%n", "{0}", "#", "//", "/*", "*/", "../../etc/passwd", "CON", "a/b", "~", "!", "&&", "|", "> file", "rm -rf",
)  # fmt: skip
CONTROL = (
    *(chr(code) for code in range(0x20)), "\x7f", *(chr(code) for code in range(0x80, 0xA0)), "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x1b[?1049h", "\x9b31m", "\r overwritten", "\b\b\b", "a\x00b", "\x1b]8;;http://a\x07",
)  # fmt: skip
DIRECTION = (
    *(chr(code) for code in (*range(0x200B, 0x2010), *range(0x2028, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF, 0xAD,
                             0x061C, 0x180E, 0xFFF9, 0xE0001, 0xE0041)),
    "\u202egnp.exe", "שלום", "مرحبا", "\u2067\u202dabc", "a\u0300\u0301\u0302\u0303\u0304" * 9, "e\u20dd",
)  # fmt: skip
SURROGATES = ("\ud800", "\udfff", "a\ud83db", "\udc00\ud800", "\ud83d", "x\udcffy")
SCRIPTS = (
    "你好", "こんにちは", "안녕", "ｆｕｌｌ", "Ａ", "🙂", "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f3\ufe0f\u200d\U0001f308", "🇨🇭", "\U0001f3f3", "कि", "ไทย", "ﷺ", "\U0001242b", "ǅ", "ﬁ", "İ", "ı", "ß",
    "\ue000", "\U000f0000", "\U0010ffff", "\ufffe",
    "\uffff", "\u0378", "ₓ", "∞", "ﾟ", "\u3000", "\u00a0", "\u2003", " ", "  ", "", "a" * 10_000, "🙂" * 500,
)  # fmt: skip
ALL = (*MARKUP, *GRAMMAR, *CONTROL, *DIRECTION, *SURROGATES, *SCRIPTS)


def strings(count, *, seed=0):
    """All of the above, and then random pieces of them put together."""
    rng = np.random.default_rng(seed)
    found = list(ALL)
    while len(found) < count:
        found.append("".join(str(ALL[index])[:60] for index in rng.integers(len(ALL), size=rng.integers(2, 5))))
    return found


def sample(count, *, seed=0):
    """Some of every kind, for small sizes."""
    rng = np.random.default_rng(seed)
    groups = (MARKUP, GRAMMAR, CONTROL, DIRECTION, SURROGATES, SCRIPTS)
    return [groups[index % len(groups)][int(rng.integers(len(groups[index % len(groups)])))] for index in range(count)]
