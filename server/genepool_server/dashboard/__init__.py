"""The read-only dashboard: pages about a running pool for a browser, made on the server, without any script.

What they show comes from the methods of the pool that the services call, and who may see it from their table of roles.
It has a listener, an event loop and one worker thread of its own, and changes nothing.
"""
