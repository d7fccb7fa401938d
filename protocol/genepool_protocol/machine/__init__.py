"""What both sides ask of the machine they run on: private folders, and programs that are started closed and quiet.

owned: private folders that never outlive their owner.
launching: the environment and the limits of every Ray and Flower process that anything of ours starts.
processes: children that never outlive us.
variables: the variables of the environment that are ours.
service_manager: what systemd is told.
flower: which Flower fits.
neighbours, superlink: Flower's local servers, deaf to other users.
"""
