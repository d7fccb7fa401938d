"""The front: grpc.aio services, the interceptor that puts errors on the wire, and the pool's TLS identity.

Services call the pool on threads and serving on the event loop; they know messages and no rule.
"""
