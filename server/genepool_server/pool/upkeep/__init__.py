"""What an operator does to a whole pool: creation, backup, restore, and fsck with its checks."""
