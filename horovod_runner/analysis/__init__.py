"""From result folders to tables, figures and pages: reading, statistics, plots and the report."""
