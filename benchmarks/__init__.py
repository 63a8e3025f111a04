"""What the suite measures: the jobs, their data, and the questions asked of them."""
