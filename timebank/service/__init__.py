"""From voluntary service to hours and points."""
