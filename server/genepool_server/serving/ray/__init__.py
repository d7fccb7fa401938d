"""Serving on Ray: its runtime, the actors, the dispatcher, and what Ray's errors mean."""
