"""What stands in a workbook, as who opens it reads it."""

import io
import zipfile
from xml.etree import ElementTree

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_xlsx(content: bytes, sheet: int) -> list[list[str]]:
    """Return the cells of a sheet as text, row by row."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        strings = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314 - ours
        texts = ["".join(one.itertext()) for one in strings]
        cells = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))  # noqa: S314
    rows = []
    for row in cells.iter(f"{SHEET}row"):
        found = {}  # an empty cell is not written
        for cell in row:
            value = cell.findtext(f"{SHEET}v", "")
            column = ord(cell.get("r", "A")[0]) - ord("A")
            found[column] = texts[int(value)] if cell.get("t") == "s" else value
        rows.append([found.get(column, "") for column in range(max(found) + 1)])
    return rows


def find_active(content: bytes) -> list[str]:
    """Return the formulas and links of a workbook."""
    found = []
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        for name in book.namelist():
            if name.startswith("xl/worksheets/"):
                text = book.read(name).decode()
                found += [mark for mark in ("<f>", "<hyperlink") if mark in text]
    return found
