"""What only the HTTP edge refuses; the docstring of each is its message and remedy."""

from timebank.domain.errors import InvalidInputError, TimebankError


class MalformedJSONError(InvalidInputError):
    """The body is not acceptable JSON. Correct what `detail` says and send it again."""

    code = "malformed_json"


class BodyTooLargeError(TimebankError):
    """The body is larger than 1 MiB. Send fewer rows at a time."""

    code = "body_too_large"


class UnsupportedMediaTypeError(TimebankError):
    """Send JSON with `Content-Type: application/json`, UTF-8, uncompressed."""

    code = "unsupported_media_type"


class MethodNotAllowedError(TimebankError):
    """This path does not take this method. The `Allow` header names those it takes."""

    code = "method_not_allowed"


class InvalidCursorError(TimebankError):
    """This cursor was not made here or is of another list. Start from the first page."""

    code = "invalid_cursor"


class OwnerNotFoundError(TimebankError):
    """No resident of this id is registered. Register the resident first."""

    code = "owner_not_found"


class InternalError(TimebankError):
    """The fault is ours. Tell us the `X-Request-Id` of the answer: our log has it."""

    code = "internal_error"
