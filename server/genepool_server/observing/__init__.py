"""What is told of a running server: the access log, and numbers for Prometheus.

It reads and counts, and changes nothing. Labels are names that this code or the operator chose: no caller,
no free text. Nothing here sees an image, a key or a class name, for calls note none.
"""
