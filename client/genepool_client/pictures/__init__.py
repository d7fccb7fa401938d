"""Reading images: folders of classes, data sets by name, and decoding, for sites and consumers alike."""
