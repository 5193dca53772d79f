"""Proving the books: everything is read, nothing is written."""
