"""The `timebank` command: translates options in and tables out; no rules, no SQL."""
