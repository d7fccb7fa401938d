"""The commands of `genepool-server`; heavy libraries are imported inside them, so that help is fast."""
