"""What both command lines share: how they fail, answer and show progress."""
