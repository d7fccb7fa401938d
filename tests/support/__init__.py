"""What tests share: small blueprints, random genes, images on disk. Nothing here pretends to be a part of genepool."""
