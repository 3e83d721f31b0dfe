"""Draws the demo's last table as SVG: a terminal with a background of its own, so that it can be
read on a light page and on a dark one.

The first argument is the command that printed the tables of standard input.
"""

import re
import sys
from html import escape

WIDTH, HEIGHT = 7.83, 19  # of a character and of a line, for text of 13 pixels
MARGIN, TITLE = 18, 34

BACKGROUND, BORDER, BAR = "#0d1117", "#30363d", "#161b22"
PLAIN, DIM, HEADER = "#c9d1d9", "#8b949e", "#79c0ff"
NAME, LIMITED, LOST = "#7ee787", "#e3b341", "#ff7b72"


def colour(text, column, header):
    """What a cell looks like: `header` is the heading of its column."""
    if column == 0:
        return NAME
    if header == "limited by" and text not in ("-", "network"):
        return LIMITED
    if header == "retransmitted" and text not in ("-", "0 B"):
        return LOST
    return DIM if text in ("-", "0 B", "0") else PLAIN


def cells(line):
    """The cells of a line with the column of characters each begins at: two spaces divide them."""
    return [(found.start(), found.group()) for found in re.finditer(r"\S+(?: \S+)*", line)]


def heading_of(headings, start, end):
    """The heading that a cell stands below: they end at the same place, or begin there."""
    for at, text in headings:
        if at == start or at + len(text) == end:
            return text
    return ""


def draw(command, table):
    lines = [f"$ {command}", *table]
    width = round(2 * MARGIN + WIDTH * max(map(len, lines)))
    height = TITLE + HEIGHT * len(lines) + MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img">'
    )
    yield "<title>The demo's table of groups and connections, in a terminal</title>"
    yield (
        "<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"
        "'DejaVu Sans Mono','Liberation Mono',monospace;white-space:pre}</style>"
    )
    yield (
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"'
        f' fill="{BACKGROUND}" stroke="{BORDER}"/>'
    )
    yield f'<path d="M1 24V8a7 7 0 0 1 7-7H{width - 8}a7 7 0 0 1 7 7V24z" fill="{BAR}"/>'
    for at, light in enumerate(["#ff5f57", "#febc2e", "#28c840"]):
        yield f'<circle cx="{16 + 16 * at}" cy="12.5" r="4.5" fill="{light}"/>'

    headings, in_header = [], False
    for number, line in enumerate(lines):
        y = TITLE + HEIGHT * number + 13
        found = cells(line)
        # A blank line, then headings.
        in_header = number > 1 and not lines[number - 1].strip() and len(found) > 2
        if in_header:
            headings = found
        if number == 0 or len(found) <= 2:
            headings, found = [], [(0, line)] if line.strip() else []
        for column, (start, text) in enumerate(found):
            if number == 0:
                fill = PLAIN
            elif in_header:
                fill = HEADER
            elif not headings:
                fill = DIM
            else:
                fill = colour(text, column, heading_of(headings, start, start + len(text)))
            # The length keeps columns straight in every font.
            length = WIDTH * len(text)
            yield (
                f'<text x="{MARGIN + WIDTH * start:.1f}" y="{y}" fill="{fill}"'
                f' textLength="{length:.1f}">{escape(text)}</text>'
            )
    yield "</svg>"


def main():
    [command] = sys.argv[1:]
    # Each table begins with a blank line and ends with what the sweep cost.
    tables = re.findall(r"^\n.*?^\d+ sockets, read in .*?$", sys.stdin.read(), re.M | re.S)
    if not tables:
        sys.exit("picture.py: no table in standard input")
    print("\n".join(draw(command, tables[-1].split("\n"))))


main()
