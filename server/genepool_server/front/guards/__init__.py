"""What stands before every method: who calls, what the caller may do, how often, how slowly, and how errors leave."""
