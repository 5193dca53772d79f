"""What can go wrong of webhooks by rule; as errors.py, each docstring is message and remedy."""

from timebank.domain.errors import InvalidInputError, TimebankError


class WebhookUrlRefusedError(InvalidInputError):
    """We do not call this. Give https://name/path, a public name, port 443 or 8443, no password."""

    code = "webhook_url_refused"

    def __init__(self, detail: str | None = None, *, pointer: str = "/url") -> None:
        """`pointer` is where the URL stands in the body."""
        super().__init__(detail, pointer=pointer)


class WebhookDisabledError(TimebankError):
    """The endpoint is disabled. Enable it first: what staff disabled staff enable, and no more."""

    code = "webhook_disabled"


class WebhookStoppedError(TimebankError):
    """Staff disabled an endpoint here. Until they enable it there is no new one and no new URL."""

    code = "webhook_stopped"


class TooManyWebhooksError(TimebankError):
    """A merchant has ten endpoints at most, disabled ones too. Change one of them instead."""

    code = "too_many_webhooks"
