"""What runs on a laptop only: simulator, emulator, host, command line, benchmark. Never deployed."""
