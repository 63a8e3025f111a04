"""Two sets of results against each other: which runs may be compared, ratios with intervals, and verdicts."""
