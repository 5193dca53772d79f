"""What every test of the pages starts with."""

from tests.api.conftest import api, app, counter, http

__all__ = ["api", "app", "counter", "http"]
"""The pages are asked of the same app as the API."""
