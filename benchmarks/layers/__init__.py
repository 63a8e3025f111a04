"""What the builders of the jobs share, a folder a framework."""
