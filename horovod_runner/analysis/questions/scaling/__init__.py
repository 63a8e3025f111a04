"""What a group of runs on several numbers of workers says: points, laws, knee, the parts of a step, a verdict."""
