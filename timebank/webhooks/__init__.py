"""Webhooks: merchants' systems are told what happened at them, signed, until they have it."""
