"""Who may call and who owns accounts."""
