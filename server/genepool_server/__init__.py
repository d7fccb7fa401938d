"""The pool's server: `app` puts admission, pool, serving and front together; `cli` is what is typed."""
