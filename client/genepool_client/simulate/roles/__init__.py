"""Sites that do not simply contribute: what each plays, by option or scenario file, and how it is played.

A site with a role runs in processes of its own, which may die, beside the honest ones, whom Flower invites. What it
does is what production does; a role only decides when it is killed, cut off or slow, or what it tries to get past the
pool.
"""
