"""The drill that ends other systems' runs, played with genepool, with Flower's FedAvg and with NVFlare's.

Of eight sites one is killed at every step, one loses its network, one is slow and one never comes back.

python -m genepool_lab.drill --out FOLDER
"""
