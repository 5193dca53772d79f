"""Pages for people: made on the server, without a script, for any phone."""
