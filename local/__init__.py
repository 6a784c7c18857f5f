"""For development only, never deployed: the simulator, the storage emulator, the Functions host, and `make run`."""
