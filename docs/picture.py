#!/usr/bin/env python3
"""Makes docs/demo.svg: `ambit demo | docs/picture.py > docs/demo.svg`."""
import html
import sys

lines = ["$ ambit demo"] + sys.stdin.read().rstrip("\n").split("\n")
width = max(len(line) for line in lines)
wide, high = width * 7.8 + 40, len(lines) * 18 + 52
out = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="13">',
    f'<rect width="{wide:.0f}" height="{high}" rx="8" fill="#10151c"/>',
]
for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
    out.append(f'<circle cx="{20 + i * 18}" cy="18" r="5.5" fill="{colour}"/>')
for i, line in enumerate(lines):
    colour = "#7ee787" if "exactly once" in line else "#79c0ff" if i == 0 else "#d6deeb"
    out.append(
        f'<text x="20" y="{50 + i * 18}" fill="{colour}" xml:space="preserve">{html.escape(line)}</text>'
    )
out.append("</svg>")
print("\n".join(out))
