"""The HTTP edge, version 1: translates requests in and answers out; no rules, no SQL."""
