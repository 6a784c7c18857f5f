"""Who may export a day, and when: messages, the lock, runs, the nightly timer."""
