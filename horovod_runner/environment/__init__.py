"""Everything that turns a bare machine into one that can run the suite; nothing in here takes part in a measurement."""
