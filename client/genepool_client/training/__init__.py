"""Training at a site: the loop, the ancestry model, condensing, and the noise of the domain embedding."""
