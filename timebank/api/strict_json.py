"""Bodies are read whole, bounded and strictly, before anything else looks at them.

Refused here, because the JSON library would let it through or fail late: other media types,
compressed bodies, invalid UTF-8, duplicate keys, floats, numbers that are not numbers, NUL and
lone surrogates in strings, nesting deeper than 32, and (Litestar would convert it) a string or a
number in place of the other.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Any, NoReturn

import msgspec
from litestar.types import HTTPScope, Receive

from timebank.api.errors import (
    BodyTooLargeError,
    MalformedJSONError,
    UnsupportedMediaTypeError,
)
from timebank.api.refusals import without_values
from timebank.domain.errors import InvalidInputError

LARGEST_BODY = 1 << 20
DEEPEST = 32
WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_JSON_TYPE = re.compile(rb'\s*application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)
_PATH = re.compile(r"(\.[a-z_]+|\[\d+\])+`")
_NAMED_FIELD = re.compile(r"(?:required|unknown) field `([a-z_]{1,32})`$")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_strictly(body: bytes, expected: Any) -> Any:
    """Return the JSON of `body` as the type `expected`; InvalidInputError points at the fault."""
    try:
        return _decoder(expected).decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).rpartition(" - at `$")
        if not _PATH.fullmatch(path):
            message, path = str(error), ""
        named = _NAMED_FIELD.search(message)
        pointer = re.sub(r"[.\[]", "/", path.strip("`").replace("]", ""))
        pointer += f"/{named[1]}" if named else ""
        raise InvalidInputError(without_values(message), pointer=pointer) from error


@cache
def _decoder(expected: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(expected)


async def read_strictly(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """Read and check the body; raises a TimebankError that says what is wrong with it."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaTypeError
    if not _JSON_TYPE.fullmatch(headers.get(b"content-type", b"")):
        raise UnsupportedMediaTypeError
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 12 or int(length) > LARGEST_BODY:
        raise BodyTooLargeError
    body = await _read_bounded(receive)
    check_json(body)
    return body


async def read_no_body(receive: Receive) -> bytes:
    """Read the empty body of a DELETE; InvalidInputError if there is one."""
    if await _read_bounded(receive):
        raise InvalidInputError("A DELETE has no body.")
    return b""


async def _read_bounded(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedJSONError("The body ended early.")
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST_BODY:
            raise BodyTooLargeError
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def check_json(body: bytes) -> None:
    """Raise MalformedJSONError unless `body` is JSON as strict as this service wants it."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJSONError("The body is not valid UTF-8.") from error
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise MalformedJSONError("The body is nested too deeply.") from error
    except ValueError as error:  # JSONDecodeError, or more digits than Python converts
        raise MalformedJSONError("The body is not valid JSON.") from error
    _check_strings_and_depth(value, 0)


def _check_strings_and_depth(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise MalformedJSONError("The body is nested too deeply.")
    if isinstance(value, str):
        if "\x00" in value or (not value.isascii() and _LONE_SURROGATE.search(value)):
            raise MalformedJSONError("A string holds a character that is not text.")
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_strings_and_depth(key, depth)
            _check_strings_and_depth(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check_strings_and_depth(member, depth + 1)


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJSONError("A key stands twice in one object.")
    return members


def _refuse_number(literal: str) -> NoReturn:
    raise MalformedJSONError("Numbers here are whole: no fraction, no exponent.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
)


def fingerprint(scope: HTTPScope, body: bytes) -> bytes:
    """Return the SHA-256 of method, path, query and body: what makes a repeat the same request."""
    target = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"]
    return sha256(target + b"\n" + body).digest()
