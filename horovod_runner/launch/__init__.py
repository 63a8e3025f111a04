"""How the ranks of a run get started: on which machine, by which launcher, in which scheduler's job."""
