"""A docstring in Google style as Markdown: equations become code blocks, arguments and errors become lists."""

import inspect
import re

SECTIONS = {"Args", "Raises", "Returns", "Yields", "Attributes", "Note", "Example", "Examples"}
SPECIAL = re.compile(r"([*_<>\[\]#~|{}])")


def escape(text: str) -> str:
    r"""Text whose `*`, `_`, `<` and the like are not read as Markdown; what stands in backticks is left alone.

    >>> escape("x_hidden * w, `x_hidden * w`")
    'x\\_hidden \\* w, `x_hidden * w`'
    """
    pieces = re.split(r"(`+[^`]*`+)", text)
    return "".join(piece if n % 2 else SPECIAL.sub(r"\\\1", piece) for n, piece in enumerate(pieces))


def indent_of(line: str) -> int:
    """The number of leading spaces."""
    return len(line) - len(line.lstrip())


def is_equation(block: list[str]) -> bool:
    """Whether a block of lines is laid out by spaces: indented, or with columns."""
    if re.match(r"[-*] |\d+\. ", block[0].lstrip()):
        return False
    return indent_of(block[0]) >= 2 or any(re.search(r"\S {3,}\S", line) for line in block)


def paragraphs(lines: list[str]) -> list[list[str]]:
    """The lines between blank lines; also split where the indentation of text changes to that of an equation."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if not line.strip():
            blocks.append([])
            continue
        previous = blocks[-1]
        item = bool(previous) and re.match(r"[-*] |\d+\. ", previous[0].lstrip())
        if previous and not item and (indent_of(line) >= 2) != (indent_of(previous[0]) >= 2):
            blocks.append([])
        blocks[-1].append(line)
    return [block for block in blocks if block]


def prose(lines: list[str]) -> str:
    """Free text as Markdown: paragraphs and lists as they are, what is laid out by spaces as a code block."""
    parts: list[str] = []
    code: list[str] = []

    def end_code():
        if code:
            text = inspect.cleandoc("\n" + "\n".join(code))
            parts.append(f"```text\n{text}\n```")
            code.clear()

    for block in paragraphs(lines):
        if not is_equation(block) or (code and indent_of(block[0]) < indent_of(code[0])):
            end_code()
        if is_equation(block):
            code += ([""] if code else []) + block
        else:
            parts.append(escape(inspect.cleandoc("\n" + "\n".join(block))))
    end_code()
    return "\n\n".join(parts)


def items(lines: list[str]) -> list[list[str]]:
    """The items of a section: each begins at the least indentation."""
    lines = [line for line in lines if line.strip()]
    least = min(map(indent_of, lines))
    found: list[list[str]] = []
    for line in lines:
        if indent_of(line) == least:
            found.append([])
        found[-1].append(line.strip())
    return found


def section(name: str, lines: list[str]) -> str:
    """A section: a list of arguments or errors, or text."""
    if name in ("Args", "Raises", "Attributes"):
        title = {"Args": "Arguments"}.get(name, name)
        rows = [" ".join(item) for item in items(lines)]
        named = [re.match(r"(\*{0,2}[\w., ]+?)(?: \([^)]*\))?: (.*)", row) for row in rows]
        listed = [
            f"- `{match[1]}`: {escape(match[2])}" if match else f"- {escape(row)}"
            for match, row in zip(named, rows, strict=True)
        ]
        return f"**{title}**\n\n" + "\n".join(listed)
    text = prose(inspect.cleandoc("\n" + "\n".join(lines)).splitlines())
    return f"**{name}**\n\n{text}"


def markdown(docstring: str) -> str:
    """The whole docstring; a section ends where the next one begins or a line is not indented."""
    lines = inspect.cleandoc(docstring).splitlines()
    parts: list[str] = []
    name, block = "", []
    for line in [*lines, "end:"]:
        title = line[:-1] if line.endswith(":") and line[:-1] in SECTIONS | {"end"} else ""
        if title or (name and line.strip() and not line.startswith(" ")):
            if any(text.strip() for text in block):
                parts.append(section(name, block) if name else prose(block))
            name, block = title, [] if title else [line]
        else:
            block.append(line)
    return "\n\n".join(part for part in parts if part)


def first_sentence(docstring: str) -> str:
    """The docstring's first paragraph on one line, up to its first full stop before a space, as Markdown."""
    paragraph = " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
    return escape(re.split(r"(?<=[.:])\s", paragraph)[0])
