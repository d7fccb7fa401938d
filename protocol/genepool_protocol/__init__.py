"""What both sides of genepool agree on: the wire, trust, learngenes and their selection.

Nothing here does I/O beyond reading a file that it is given, besides `terminal`, which both command lines print with,
and `machine`, which both start programs with; and nothing here knows gRPC servers, Ray or Flower.
Only `genepool_protocol.selection` and `genepool_protocol.training` import torch.
"""

__version__ = "0.1.0"
