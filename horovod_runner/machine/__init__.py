"""What this machine is and what this process is on it."""
