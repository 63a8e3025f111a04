"""Mutation testing of the parity proof: the code is broken in small ways, and the proof has to turn red."""
