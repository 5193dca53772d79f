"""Speed, measured against a yardstick on the same server in the same run."""
