"""From a few workers to many: a job's profile, a model of the network, a simulated step, and how far off it is."""
