"""Results as runs, groups and tables: loose and packed runs read alike."""
