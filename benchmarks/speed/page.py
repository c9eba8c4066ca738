def page(r): return str(r.keys())
