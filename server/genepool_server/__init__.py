"""genepool."""
