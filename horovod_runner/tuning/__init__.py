"""The search for a machine's best way to reduce gradients: short real runs, interleaved; no winner within the noise."""
