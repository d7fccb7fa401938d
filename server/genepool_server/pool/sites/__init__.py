"""Sites: how they are invited, enrol, are approved and suspended, and which keys are theirs."""
