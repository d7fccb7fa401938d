"""The entrance: the one port from which everything is reached. It reads how TLS begins, and never opens it.

A connection is led by what its ClientHello says in the clear: what speaks no HTTP/2 to a campaign's gate, what asks for
the name of certified clients to the door where certificates are shown, everything else to the open one.
"""
