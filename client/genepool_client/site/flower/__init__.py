"""A site's seat in a Flower campaign: the ClientApp, the guarded SuperNode and its egress guard."""
