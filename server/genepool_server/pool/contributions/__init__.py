"""One contribution from its upload to its end: spool, intake, decision, sealing, withdrawal."""
