"""What both command lines share: how they fail, answer, show progress, write their logs and show their numbers."""
