"""A data-holding site: images, ancestry model, learngene, signature, submission; and its seat in a Flower campaign."""
